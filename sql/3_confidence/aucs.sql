-- aucs: how often an active held-out case scores above an inactive one, without any threshold.
-- grain:  run_id, latent_id
-- reads:  confidence.trial_scores, confidence.trial_counts
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based; latents with scored verify cases of both kinds
--   auc       DOUBLE  area under the ROC curve, 0-1; a tie counts one half
-- source: Mann-Whitney form of the area under the ROC curve
with counts as (
    select *
    from confidence.trial_counts
    where run_id = $run_id and side = 'verify' and n_trials > 0 and n_inactive > 0
),

scored as (
    select
        latent_id,
        score,
        count(*) filter (where is_active) as n_active,
        count(*) filter (where not is_active) as n_inactive
    from confidence.trial_scores
    where run_id = $run_id and side = 'verify'
    group by latent_id, score
),

scored_totals as (
    select
        latent_id,
        sum(n_active)::bigint as n_active,
        sum(n_inactive)::bigint as n_inactive
    from scored
    group by latent_id
),

zeros as (
    select
        counts.latent_id,
        0::bigint as score,
        counts.n_trials - coalesce(scored_totals.n_active, 0) as n_active,
        counts.n_inactive - coalesce(scored_totals.n_inactive, 0) as n_inactive
    from counts
    left join scored_totals on counts.latent_id = scored_totals.latent_id
),

scores as (
    select * from scored
    union all
    select * from zeros
),

ranked as (
    select
        latent_id,
        n_active,
        n_inactive,
        sum(n_inactive) over (partition by latent_id order by score) - n_inactive as n_below
    from scores
),

wins as (
    -- twice the number of won pairs, which is whole
    select
        latent_id,
        sum(n_active * (2 * n_below + n_inactive)) as doubled
    from ranked
    group by latent_id
)

select
    $run_id as run_id,
    counts.latent_id,
    wins.doubled::double / 2 / counts.n_trials / counts.n_inactive as auc
from counts
inner join wins on counts.latent_id = wins.latent_id
