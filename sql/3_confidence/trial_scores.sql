-- trial_scores: how well each scored case fits the concept; cases without a row score 0.
-- grain:  run_id, latent_id, case_id, is_active
-- reads:  confidence.trials, confidence.pool_actives, staging.case_pool, staging.case_items,
--         concepts.item_scores
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   case_id   BIGINT  0-based
--   user_id   INTEGER 1-based
--   side      VARCHAR construct or verify
--   is_active BOOLEAN the truth: the latent is active on the case
--   score     BIGINT  sum over the case's items of share x item score, above zero
with case_items as (
    select * from staging.case_items where run_id = $run_id
),

item_scores as (
    select * from concepts.item_scores where run_id = $run_id
),

pool_actives as (
    select * from confidence.pool_actives where run_id = $run_id
),

trials as (
    select * from confidence.trials where run_id = $run_id
),

pool as (
    select * from staging.case_pool where run_id = $run_id
),

active_scores as (
    select
        trials.latent_id,
        trials.case_id,
        sum(case_items.weight * item_scores.score)::bigint as score
    from trials
    inner join case_items on trials.case_id = case_items.case_id
    inner join item_scores
        on
            trials.latent_id = item_scores.latent_id
            and case_items.item_id = item_scores.item_id
    group by trials.latent_id, trials.case_id
),

pool_scores as (
    select
        item_scores.latent_id,
        pool.case_id,
        sum(case_items.weight * item_scores.score)::bigint as score
    from pool
    inner join case_items on pool.case_id = case_items.case_id
    inner join item_scores on case_items.item_id = item_scores.item_id
    group by item_scores.latent_id, pool.case_id
),

scores as (
    -- the sums are made by number alone: user and side follow where there are fewer rows
    select
        active_scores.latent_id,
        active_scores.case_id,
        trials.user_id,
        trials.side,
        true as is_active,
        active_scores.score
    from active_scores
    inner join trials
        on
            active_scores.latent_id = trials.latent_id
            and active_scores.case_id = trials.case_id
    union all
    select
        pool_scores.latent_id,
        pool_scores.case_id,
        pool.user_id,
        pool.side,
        false as is_active,
        pool_scores.score
    from pool_scores
    inner join pool on pool_scores.case_id = pool.case_id
    anti join pool_actives
        on
            pool_scores.latent_id = pool_actives.latent_id
            and pool_scores.case_id = pool_actives.case_id
)

select
    $run_id as run_id,
    latent_id,
    case_id,
    user_id,
    side,
    is_active,
    score
from scores
where score > 0
