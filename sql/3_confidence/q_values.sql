-- q_values: share of latents this good that permuted tags would also give, among all this good.
-- grain:  run_id, latent_id
-- reads:  confidence.verification, confidence.trial_counts
-- params:
--   $run_id       VARCHAR the SAE run
--   $permutations BIGINT  rounds of permuted tags
--   $label_tags   BIGINT  tags of the label
--   $min_active   BIGINT  held-out active cases below which a latent is too rare to count
--   $min_users    BIGINT  users of these cases below which it is too rare
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based; latents that are not too rare
--   null_mean DOUBLE  mean balanced accuracy of the latent under permuted tags
--   p_value   DOUBLE  (1 + rounds at least as good) / (1 + rounds)
--   q_value   DOUBLE  target-decoy q-value over latents, 0-1
-- source: target-decoy estimate (Elias and Gygi 2007) with the permuted tags as decoys; per-latent
--         p-values with 20 rounds are too coarse for Benjamini-Hochberg
with counts as (
    select *
    from confidence.trial_counts
    where
        run_id = $run_id
        and side = 'verify'
        and n_active >= $min_active
        and n_users >= $min_users
),

targets as (
    select
        verification.latent_id,
        verification.balanced_accuracy
    from confidence.verification as verification
    inner join counts on verification.latent_id = counts.latent_id
    where
        verification.run_id = $run_id
        and verification.permutation = 0
        and verification.tags_used = $label_tags
),

decoys as (
    select
        verification.latent_id,
        verification.permutation,
        verification.balanced_accuracy
    from confidence.verification as verification
    inner join counts on verification.latent_id = counts.latent_id
    where
        verification.run_id = $run_id
        and verification.permutation > 0
        and verification.tags_used = $label_tags
),

by_score as (
    select
        balanced_accuracy,
        count(*) filter (where is_target) as n_targets,
        count(*) filter (where not is_target) as n_decoys
    from (
        select
            balanced_accuracy,
            true as is_target
        from targets
        union all
        select
            balanced_accuracy,
            false as is_target
        from decoys
    ) as pooled
    group by balanced_accuracy
),

ratios as (
    select
        balanced_accuracy,
        n_targets,
        sum(n_decoys) over descending / $permutations
        / nullif(sum(n_targets) over descending, 0) as ratio
    from by_score
    window descending as (order by balanced_accuracy desc)
),

monotone as (
    -- the best ratio of any threshold that still lets the latent in
    select
        balanced_accuracy,
        least(min(ratio) over (order by balanced_accuracy), 1) as q_value
    from ratios
    where n_targets > 0
),

nulls as (
    select
        targets.latent_id,
        avg(decoys.balanced_accuracy order by decoys.permutation) as null_mean,
        (1 + count(*) filter (where decoys.balanced_accuracy >= targets.balanced_accuracy))
        / (1 + $permutations) as p_value
    from targets
    left join decoys on targets.latent_id = decoys.latent_id
    group by targets.latent_id
)

select
    $run_id as run_id,
    targets.latent_id,
    nulls.null_mean,
    nulls.p_value,
    monotone.q_value
from targets
inner join nulls on targets.latent_id = nulls.latent_id
inner join monotone on targets.balanced_accuracy = monotone.balanced_accuracy
