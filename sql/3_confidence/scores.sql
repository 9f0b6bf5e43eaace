-- scores: everything known about how well each latent's concept holds, one row for every latent.
-- grain:  run_id, latent_id
-- reads:  raw.runs, raw.activations, staging.cases, concepts.labels, confidence.trial_counts,
--         confidence.verification, confidence.aucs, confidence.intervals, confidence.q_values,
--         confidence.reference_scores, confidence.trends
-- params:
--   $run_id         VARCHAR the SAE run
--   $label_tags     BIGINT  tags of the label
--   $profile_tags   BIGINT  tags of the whole profile
--   $min_active     BIGINT  held-out active cases below which a latent is too rare to judge
--   $min_users      BIGINT  users of these cases below which it is too rare
--   $min_confidence DOUBLE  least confidence of an interpretable latent
--   $max_q          DOUBLE  largest q-value of an interpretable latent
-- yields:
--   run_id                VARCHAR the SAE run
--   latent_id             INTEGER 0-based
--   status                VARCHAR interpretable, not shown, too rare or dead
--   confidence            DOUBLE  balanced accuracy on held-out cases; NULL when it cannot be tried
--   confidence_low        DOUBLE  its lower 95% bound (one-sided)
--   auc                   DOUBLE  0-1
--   recall                DOUBLE  0-1
--   specificity           DOUBLE  0-1
--   precision             DOUBLE  at the true share of active cases, 0-1
--   f1                    DOUBLE  of that precision and recall, 0-1
--   balanced_accuracy     DOUBLE  same number as confidence
--   profile_confidence    DOUBLE  balanced accuracy with all the tags of the profile
--   null_mean             DOUBLE  mean balanced accuracy under permuted tags
--   p_value               DOUBLE  0-1
--   q_value               DOUBLE  0-1
--   trend                 VARCHAR popular, long tail, recent or old: what alone tells its cases as
--                                 well as an interpretable concept has to; NULL when nothing does
--   trend_confidence      DOUBLE  balanced accuracy of the best trend on held-out cases
--   n_fired               BIGINT  cases with a positive activation, both sides
--   n_active              BIGINT  held-out active cases
--   n_users               BIGINT  held-out users with an active case
--   n_verified            BIGINT  held-out cases scored, active and inactive
--   reference_recall      DOUBLE  the paper's protocol: recall
--   reference_specificity DOUBLE  the paper's protocol: specificity, there called precision
--   reference_confidence  DOUBLE  the paper's protocol: share of correct predictions
--   reference_cases       BIGINT  the paper's protocol: cases that verify
-- source: section 4.3 of the paper for the idea; docs/decisions.md for every difference
with latents as (
    select
        run_id,
        unnest(generate_series(0, (params ->> '$.n_latents')::integer - 1))::integer as latent_id
    from raw.runs
    where run_id = $run_id
),

fired as (
    select
        latent_id,
        count(*) as n_fired
    from raw.activations
    where run_id = $run_id
    group by latent_id
),

held_out as (
    select count(*) as n_cases
    from staging.cases
    where run_id = $run_id and side = 'verify'
),

counts as (
    select *
    from confidence.trial_counts
    where run_id = $run_id and side = 'verify'
),

verification as (
    select *
    from confidence.verification
    where run_id = $run_id and permutation = 0 and tags_used = $label_tags
),

profiles as (
    select *
    from confidence.verification
    where run_id = $run_id and permutation = 0 and tags_used = $profile_tags
),

labels as (
    select * from concepts.labels where run_id = $run_id
),

joined as (
    select
        latents.run_id,
        latents.latent_id,
        labels.label is not null as has_label,
        coalesce(fired.n_fired, 0) as n_fired,
        coalesce(counts.n_active, 0) as n_active,
        coalesce(counts.n_users, 0) as n_users,
        verification.n_trials + verification.n_inactive as n_verified,
        verification.recall,
        verification.specificity,
        verification.balanced_accuracy,
        profiles.balanced_accuracy as profile_confidence,
        aucs.auc,
        trends.trend,
        trends.balanced_accuracy as trend_confidence,
        intervals.confidence_low,
        q_values.null_mean,
        q_values.p_value,
        q_values.q_value,
        reference_scores.reference_recall,
        reference_scores.reference_specificity,
        reference_scores.reference_confidence,
        reference_scores.reference_cases,
        -- expected true and false positives per held-out case, at the true share of active ones
        verification.recall * counts.n_active as expected_hits,
        (1 - verification.specificity) * (held_out.n_cases - counts.n_active) as expected_alarms
    from latents
    cross join held_out
    left join labels on latents.latent_id = labels.latent_id
    left join fired on latents.latent_id = fired.latent_id
    left join counts on latents.latent_id = counts.latent_id
    left join verification on latents.latent_id = verification.latent_id
    left join profiles on latents.latent_id = profiles.latent_id
    left join confidence.aucs as aucs
        on latents.run_id = aucs.run_id and latents.latent_id = aucs.latent_id
    left join confidence.trends as trends
        on latents.run_id = trends.run_id and latents.latent_id = trends.latent_id
    left join confidence.intervals as intervals
        on latents.run_id = intervals.run_id and latents.latent_id = intervals.latent_id
    left join confidence.q_values as q_values
        on latents.run_id = q_values.run_id and latents.latent_id = q_values.latent_id
    left join confidence.reference_scores as reference_scores
        on
            latents.run_id = reference_scores.run_id
            and latents.latent_id = reference_scores.latent_id
),

rates as (
    select
        *,
        -- the cases of one user are much alike: many of them are no sample of what it fires on
        n_active >= $min_active and n_users >= $min_users as is_frequent,
        expected_hits / nullif(expected_hits + expected_alarms, 0) as precision
    from joined
)

select
    run_id,
    latent_id,
    case
        when n_fired = 0 then 'dead'
        when not is_frequent or balanced_accuracy is null then 'too rare'
        when
            has_label and balanced_accuracy >= $min_confidence and q_value <= $max_q
            then 'interpretable'
        else 'not shown'
    end as status,
    balanced_accuracy as confidence,
    confidence_low,
    auc,
    recall,
    specificity,
    precision,
    2 * precision * recall / nullif(precision + recall, 0) as f1,
    balanced_accuracy,
    profile_confidence,
    null_mean,
    p_value,
    q_value,
    if(is_frequent and trend_confidence >= $min_confidence, trend, null) as trend,
    trend_confidence,
    n_fired,
    n_active,
    n_users,
    coalesce(n_verified, 0) as n_verified,
    reference_recall,
    reference_specificity,
    reference_confidence,
    reference_cases
from rates
