-- thresholds: the score from which a case counts as showing the concept, set on construct cases.
-- grain:  run_id, latent_id
-- reads:  confidence.trial_scores, confidence.trial_counts
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based; latents with a concept and construct cases of both kinds
--   threshold BIGINT  a case shows the concept when its score is at least this
--   youden_j  DOUBLE  recall + specificity - 1 on the construct cases, at its best
-- source: Youden 1950, index for rating diagnostic tests; ties go to the higher threshold
with counts as (
    select *
    from confidence.trial_counts
    where run_id = $run_id and side = 'construct' and n_trials > 0 and n_inactive > 0
),

scores as (
    select
        latent_id,
        score,
        count(*) filter (where is_active) as n_active,
        count(*) filter (where not is_active) as n_inactive
    from confidence.trial_scores
    where run_id = $run_id and side = 'construct'
    group by latent_id, score
),

cumulated as (
    -- cases that reach the score, if it were the threshold
    select
        latent_id,
        score,
        sum(n_active) over descending as true_positives,
        sum(n_inactive) over descending as false_positives
    from scores
    window descending as (partition by latent_id order by score desc)
),

rates as (
    select
        cumulated.latent_id,
        cumulated.score,
        -- one division of whole numbers, so that a tie is a tie in floats as well
        (
            cumulated.true_positives * counts.n_inactive
            - cumulated.false_positives * counts.n_trials
        ) / (counts.n_trials * counts.n_inactive) as youden_j
    from cumulated
    inner join counts on cumulated.latent_id = counts.latent_id
),

best as (
    select
        latent_id,
        max(youden_j) as youden_j
    from rates
    group by latent_id
)

select
    $run_id as run_id,
    rates.latent_id,
    max(rates.score) as threshold,
    rates.youden_j
from rates
inner join best on rates.latent_id = best.latent_id and rates.youden_j = best.youden_j
group by rates.latent_id, rates.youden_j
