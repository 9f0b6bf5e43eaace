-- intervals: how low the balanced accuracy may be, with the cases of a user taken as one draw.
-- grain:  run_id, latent_id
-- reads:  confidence.verification, confidence.trial_scores, confidence.trials,
--         confidence.pool_actives, staging.case_pool
-- params:
--   $run_id     VARCHAR the SAE run
--   $label_tags BIGINT  tags of the label
-- yields:
--   run_id         VARCHAR the SAE run
--   latent_id      INTEGER 0-based
--   standard_error DOUBLE  of the balanced accuracy, 0-1
--   confidence_low DOUBLE  its lower 95% bound (one-sided), 0-1
-- source: cluster-robust variance of a ratio (Cochran 1977, section 3.12) turned into an effective
--         number of cases (Korn and Graubard 1998) for the interval of Agresti and Coull 1998 with
--         z = 1.645: neighbouring cases of one user are nearly the same case, and without the last
--         step a latent that is right on all of twenty cases would have no error at all
with rates as (
    select *
    from confidence.verification
    where run_id = $run_id and permutation = 0 and tags_used = $label_tags
),

hits as (
    select
        scores.latent_id,
        scores.user_id,
        count(*) filter (where scores.is_active) as true_positives,
        count(*) filter (where not scores.is_active) as false_positives
    from confidence.trial_scores as scores
    inner join rates on scores.latent_id = rates.latent_id
    where scores.run_id = $run_id and scores.side = 'verify' and scores.score >= rates.threshold
    group by scores.latent_id, scores.user_id
),

trial_users as (
    select
        latent_id,
        user_id,
        count(*) as n_trials
    from confidence.trials
    where run_id = $run_id and side = 'verify'
    group by latent_id, user_id
),

pool_users as (
    select
        user_id,
        count(*) as n_cases
    from staging.case_pool
    where run_id = $run_id and side = 'verify'
    group by user_id
),

excluded_users as (
    select
        latent_id,
        user_id,
        count(*) as n_cases
    from confidence.pool_actives
    where run_id = $run_id and side = 'verify'
    group by latent_id, user_id
),

recall_terms as (
    -- millionths squared as whole numbers, so that the order of adding does not matter
    select
        trial_users.latent_id,
        count(*) as n_users,
        sum(
            round(
                power(
                    coalesce(hits.true_positives, 0) - trial_users.n_trials * rates.recall, 2
                ) * 1e6
            )::bigint
        )::double / 1e6 as squares
    from trial_users
    inner join rates on trial_users.latent_id = rates.latent_id
    left join hits
        on trial_users.latent_id = hits.latent_id and trial_users.user_id = hits.user_id
    group by trial_users.latent_id
),

inactive_users as (
    select
        rates.latent_id,
        pool_users.user_id,
        1 - rates.specificity as false_positive_rate,
        pool_users.n_cases - coalesce(excluded_users.n_cases, 0) as n_inactive
    from rates
    cross join pool_users
    left join excluded_users
        on
            rates.latent_id = excluded_users.latent_id
            and pool_users.user_id = excluded_users.user_id
),

specificity_terms as (
    select
        inactive_users.latent_id,
        count(*) as n_users,
        sum(
            round(
                power(
                    coalesce(hits.false_positives, 0)
                    - inactive_users.n_inactive * inactive_users.false_positive_rate,
                    2
                ) * 1e6
            )::bigint
        )::double / 1e6 as squares
    from inactive_users
    left join hits
        on inactive_users.latent_id = hits.latent_id and inactive_users.user_id = hits.user_id
    where inactive_users.n_inactive > 0
    group by inactive_users.latent_id
),

variances as (
    select
        rates.latent_id,
        'recall' as rate_name,
        rates.recall as rate,
        rates.n_trials as n_cases,
        recall_terms.n_users,
        recall_terms.squares / power(rates.n_trials, 2) as variance
    from rates
    inner join recall_terms on rates.latent_id = recall_terms.latent_id
    union all
    select
        rates.latent_id,
        'specificity' as rate_name,
        rates.specificity as rate,
        rates.n_inactive as n_cases,
        specificity_terms.n_users,
        specificity_terms.squares / power(rates.n_inactive, 2) as variance
    from rates
    inner join specificity_terms on rates.latent_id = specificity_terms.latent_id
),

effective as (
    -- a rate of 0 or 1 has no variance of its own: its users count as its cases
    select
        *,
        if(variance > 0, least(rate * (1 - rate) / variance, n_cases), n_users) as n_effective
    from variances
),

adjusted as (
    select
        latent_id,
        rate_name,
        n_effective + 2.706 as n_adjusted,
        (rate * n_effective + 1.353) / (n_effective + 2.706) as rate_adjusted
    from effective
),

bounds as (
    select
        latent_id,
        sum(rate_adjusted order by rate_name) / 2 as centre,
        sqrt(
            greatest(sum(rate_adjusted * (1 - rate_adjusted) / n_adjusted order by rate_name), 0)
        ) / 2 as standard_error
    from adjusted
    group by latent_id
)

select
    $run_id as run_id,
    latent_id,
    standard_error,
    greatest(centre - 1.645 * standard_error, 0) as confidence_low
from bounds
