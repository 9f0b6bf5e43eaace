-- trial_counts: how many cases of each kind a latent has on each side, and how many are scored.
-- grain:  run_id, latent_id, side
-- reads:  staging.activation_levels, staging.case_pool, confidence.trials, confidence.pool_actives
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id     VARCHAR the SAE run
--   latent_id  INTEGER 0-based; latents that are active somewhere
--   side       VARCHAR construct or verify
--   n_active   BIGINT  active cases in all
--   n_users    BIGINT  users with an active case
--   n_trials   BIGINT  active cases scored
--   n_inactive BIGINT  inactive cases scored: the pool without the latent's active cases
with firings as (
    select * from staging.activation_levels where run_id = $run_id and is_active
),

active as (
    select
        latent_id,
        side,
        count(*) as n_active,
        count(distinct user_id) as n_users
    from firings
    group by latent_id, side
),

trials as (
    select
        latent_id,
        side,
        count(*) as n_trials
    from confidence.trials
    where run_id = $run_id
    group by latent_id, side
),

pool as (
    select
        side,
        count(*) as n_cases
    from staging.case_pool
    where run_id = $run_id
    group by side
),

in_pool as (
    select
        latent_id,
        side,
        count(*) as n_cases
    from confidence.pool_actives
    where run_id = $run_id
    group by latent_id, side
),

latents as (
    select distinct latent_id from active
)

select
    $run_id as run_id,
    latents.latent_id,
    pool.side,
    coalesce(active.n_active, 0) as n_active,
    coalesce(active.n_users, 0) as n_users,
    coalesce(trials.n_trials, 0) as n_trials,
    pool.n_cases - coalesce(in_pool.n_cases, 0) as n_inactive
from latents
cross join pool
left join active on latents.latent_id = active.latent_id and pool.side = active.side
left join trials on latents.latent_id = trials.latent_id and pool.side = trials.side
left join in_pool on latents.latent_id = in_pool.latent_id and pool.side = in_pool.side
