-- verification: the concept of each latent tried on held-out cases, at the threshold set before.
-- grain:  run_id, permutation, tags_used, latent_id
-- reads:  confidence.trial_scores, confidence.trial_counts, confidence.thresholds
-- params:
--   $run_id      VARCHAR the SAE run
--   $permutation BIGINT  the round that the scores belong to; 0 = the true tags
--   $tags_used   BIGINT  tags per item half that the scores were made with
-- yields:
--   run_id            VARCHAR the SAE run
--   permutation       BIGINT  0 = true tags, 1.. = tags permuted over items
--   tags_used         BIGINT  tags per item half: those of the label, or of the whole profile
--   latent_id         INTEGER 0-based; latents with scored verify cases of both kinds
--   threshold         BIGINT  NULL when the tags gave no concept: every case counts as inactive
--   n_trials          BIGINT  active cases scored
--   n_inactive        BIGINT  inactive cases scored
--   true_positives    BIGINT  active cases at or above the threshold
--   false_positives   BIGINT  inactive cases at or above the threshold
--   recall            DOUBLE  0-1
--   specificity       DOUBLE  0-1
--   balanced_accuracy DOUBLE  mean of recall and specificity, 0-1; .5 is chance
with counts as (
    select *
    from confidence.trial_counts
    where run_id = $run_id and side = 'verify' and n_trials > 0 and n_inactive > 0
),

thresholds as (
    select * from confidence.thresholds where run_id = $run_id
),

hits as (
    select
        scores.latent_id,
        count(*) filter (where scores.is_active) as true_positives,
        count(*) filter (where not scores.is_active) as false_positives
    from confidence.trial_scores as scores
    inner join thresholds on scores.latent_id = thresholds.latent_id
    where
        scores.run_id = $run_id and scores.side = 'verify' and scores.score >= thresholds.threshold
    group by scores.latent_id
),

outcomes as (
    select
        counts.latent_id,
        thresholds.threshold,
        counts.n_trials,
        counts.n_inactive,
        coalesce(hits.true_positives, 0) as true_positives,
        coalesce(hits.false_positives, 0) as false_positives
    from counts
    left join thresholds on counts.latent_id = thresholds.latent_id
    left join hits on counts.latent_id = hits.latent_id
),

rates as (
    select
        *,
        true_positives / n_trials as recall,
        (n_inactive - false_positives) / n_inactive as specificity,
        -- one division of whole numbers, so that equal results are equal in floats as well
        (true_positives * n_inactive + (n_inactive - false_positives) * n_trials)
        / (2 * n_trials * n_inactive) as balanced_accuracy
    from outcomes
)

select
    $run_id as run_id,
    $permutation::bigint as permutation,
    $tags_used::bigint as tags_used,
    latent_id,
    threshold,
    n_trials,
    n_inactive,
    true_positives,
    false_positives,
    recall,
    specificity,
    balanced_accuracy
from rates
