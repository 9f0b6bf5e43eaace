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

reached as (
    -- scored cases at or above the score, if it were the threshold
    select
        latent_id,
        score,
        is_active,
        count(*) over descending as n_reached,
        rank() over descending as place
    from confidence.trial_scores
    where run_id = $run_id and side = 'construct'
    window descending as (partition by latent_id order by score desc)
),

candidates as (
    -- the best is the score of an active case, as one below it lets in inactive cases only; or
    -- the highest of all, where no active case is worth what passes with it
    select
        latent_id,
        score,
        count(*) filter (where is_active) as n_active,
        any_value(n_reached) as n_reached
    from reached
    where is_active or place = 1
    group by latent_id, score
),

cumulated as (
    select
        latent_id,
        score,
        n_reached,
        sum(n_active) over descending as true_positives
    from candidates
    window descending as (partition by latent_id order by score desc)
),

rates as (
    select
        cumulated.latent_id,
        cumulated.score,
        -- one division of whole numbers, so that a tie is a tie in floats as well
        (
            cumulated.true_positives * counts.n_inactive
            - (cumulated.n_reached - cumulated.true_positives) * counts.n_trials
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
