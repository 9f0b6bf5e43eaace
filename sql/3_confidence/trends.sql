-- trends: how well the popularity, or the age, of a case's items alone tells a latent's cases.
-- grain:  run_id, latent_id
-- reads:  raw.runs, raw.items, raw.interactions, confidence.trials, confidence.pool_actives,
--         confidence.trial_counts, staging.case_pool, staging.case_items
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id            VARCHAR the SAE run
--   latent_id         INTEGER 0-based; latents with cases of both kinds on both sides
--   trend             VARCHAR popular, long tail, recent or old: the direction that fits better
--   balanced_accuracy DOUBLE  on held-out cases, at the threshold set on construct cases; 0-1
-- source: docs/decisions.md; many latents follow nothing but popularity. The threshold is Youden's,
--         as for concepts. No item half is needed: one number per item is no fingerprint.
with runs as (
    select * from raw.runs where run_id = $run_id
),

ages as (
    -- place of an item among all by the time of its first interaction, in thousandths
    select
        interactions.item_id,
        round(percent_rank() over (order by min(interactions.time)) * 1000)::bigint as age
    from raw.interactions as interactions
    inner join runs on interactions.dataset = runs.dataset
    where interactions.split = 'train'
    group by interactions.item_id
),

measures as (
    select
        items.item_id,
        round(ln(1 + items.popularity) * 1000)::bigint as popularity,
        coalesce(ages.age, 1000) as age
    from raw.items as items
    inner join runs on items.dataset = runs.dataset
    left join ages on items.item_id = ages.item_id
),

trials as (
    select * from confidence.trials where run_id = $run_id
),

pool as (
    select * from staging.case_pool where run_id = $run_id
),

pool_actives as (
    select * from confidence.pool_actives where run_id = $run_id
),

marked as (
    select
        case_id,
        side,
        0 as in_pool
    from trials
    union all
    select
        case_id,
        side,
        1 as in_pool
    from pool
),

wanted as (
    select
        case_id,
        side,
        max(in_pool) as in_pool
    from marked
    group by case_id, side
),

sums as (
    select
        wanted.case_id,
        wanted.side,
        wanted.in_pool,
        sum(case_items.weight * measures.popularity)::bigint as popularity,
        sum(case_items.weight * measures.age)::bigint as age
    from staging.case_items as case_items
    inner join wanted on case_items.case_id = wanted.case_id
    inner join measures on case_items.item_id = measures.item_id
    where case_items.run_id = $run_id
    group by wanted.case_id, wanted.side, wanted.in_pool
),

directions as (
    -- the same number the other way round is the opposite trend
    from (
        values
        ('popular', 1, 0), ('long tail', -1, 0), ('recent', 0, 1), ('old', 0, -1)
    ) as directions (trend, of_popularity, of_age)
),

measured as (
    select
        sums.case_id,
        sums.side,
        sums.in_pool,
        directions.trend,
        sums.popularity * directions.of_popularity + sums.age * directions.of_age as score
    from sums
    cross join directions
),

cases as (
    -- a case scores the same for every latent, so the pool is counted once and not for each of them
    select
        *,
        sum(in_pool) over (partition by side, trend order by score desc) as n_reached
    from measured
),

counts as (
    select *
    from confidence.trial_counts
    where run_id = $run_id and n_trials > 0 and n_inactive > 0
),

latents as (
    select latent_id
    from counts
    group by latent_id
    having count(*) = 2
),

marks as (
    -- what is a latent's own: its active cases, and those of the pool that it is active on
    select
        latent_id,
        case_id,
        1 as is_trial
    from trials
    union all
    select
        latent_id,
        case_id,
        0 as is_trial
    from pool_actives
),

scores as (
    select
        marks.latent_id,
        cases.side,
        cases.trend,
        cases.score,
        cases.n_reached,
        marks.is_trial,
        1 - marks.is_trial as is_excluded
    from marks
    semi join latents on marks.latent_id = latents.latent_id
    inner join cases on marks.case_id = cases.case_id
),

cumulated as (
    select
        latent_id,
        trend,
        score,
        n_reached,
        is_trial,
        sum(is_trial) over descending as true_positives,
        sum(is_excluded) over descending as n_excluded
    from scores
    where side = 'construct'
    window descending as (partition by latent_id, trend order by score desc)
),

rates as (
    -- the best threshold is the score of an active case: one below lets in inactive cases only
    select
        cumulated.latent_id,
        cumulated.trend,
        cumulated.score,
        (
            cumulated.true_positives * counts.n_inactive
            - (cumulated.n_reached - cumulated.n_excluded) * counts.n_trials
        ) / (counts.n_trials * counts.n_inactive) as youden_j
    from cumulated
    inner join counts on cumulated.latent_id = counts.latent_id and counts.side = 'construct'
    where cumulated.is_trial = 1
),

thresholds as (
    -- the best trend and threshold of each latent; ties go to the higher threshold
    select
        latent_id,
        arg_max(trend, (youden_j, score, trend)) as trend,
        arg_max(score, (youden_j, score, trend)) as score
    from rates
    group by latent_id
),

pool_hits as (
    select
        thresholds.latent_id,
        count(*) as n_cases
    from thresholds
    inner join cases on thresholds.trend = cases.trend and thresholds.score <= cases.score
    where cases.side = 'verify' and cases.in_pool = 1
    group by thresholds.latent_id
),

hits as (
    select
        thresholds.latent_id,
        thresholds.trend,
        sum(scores.is_trial) as n_active,
        sum(scores.is_excluded) as n_excluded
    from thresholds
    left join scores
        on
            thresholds.latent_id = scores.latent_id
            and thresholds.trend = scores.trend
            and scores.side = 'verify'
            and thresholds.score <= scores.score
    group by thresholds.latent_id, thresholds.trend
)

select
    $run_id as run_id,
    hits.latent_id,
    hits.trend,
    (
        coalesce(hits.n_active, 0) / counts.n_trials
        + 1 - (coalesce(pool_hits.n_cases, 0) - coalesce(hits.n_excluded, 0)) / counts.n_inactive
    ) / 2 as balanced_accuracy
from hits
inner join counts on hits.latent_id = counts.latent_id and counts.side = 'verify'
left join pool_hits on hits.latent_id = pool_hits.latent_id
