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
        (percent_rank() over (order by min(interactions.time)) * 1000)::bigint as age
    from raw.interactions as interactions
    inner join runs on interactions.dataset = runs.dataset
    where interactions.split = 'train'
    group by interactions.item_id
),

measures as (
    select
        items.item_id,
        (ln(1 + items.popularity) * 1000)::bigint as popularity,
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

wanted as (
    select case_id from trials
    union
    select case_id from pool
),

cases as (
    select
        case_items.case_id,
        sum(case_items.weight * measures.popularity)::bigint as popularity,
        sum(case_items.weight * measures.age)::bigint as age
    from staging.case_items as case_items
    inner join wanted on case_items.case_id = wanted.case_id
    inner join measures on case_items.item_id = measures.item_id
    where case_items.run_id = $run_id
    group by case_items.case_id
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

tried as (
    select
        latent_id,
        case_id,
        side,
        true as is_active
    from trials
    union all
    select
        latents.latent_id,
        pool.case_id,
        pool.side,
        false as is_active
    from latents
    cross join pool
    anti join pool_actives
        on
            latents.latent_id = pool_actives.latent_id
            and pool.case_id = pool_actives.case_id
),

directions as (
    -- the same number the other way round is the opposite trend
    from (
        values
        ('popular', 1, 0), ('long tail', -1, 0), ('recent', 0, 1), ('old', 0, -1)
    ) as directions (trend, of_popularity, of_age)
),

scores as (
    select
        tried.latent_id,
        tried.side,
        directions.trend,
        cases.popularity * directions.of_popularity + cases.age * directions.of_age as score,
        count(*) filter (where tried.is_active) as n_active,
        count(*) filter (where not tried.is_active) as n_inactive
    from tried
    inner join latents on tried.latent_id = latents.latent_id
    inner join cases on tried.case_id = cases.case_id
    cross join directions
    group by all
),

cumulated as (
    select
        latent_id,
        trend,
        score,
        sum(n_active) over descending as true_positives,
        sum(n_inactive) over descending as false_positives
    from scores
    where side = 'construct'
    window descending as (partition by latent_id, trend order by score desc)
),

rates as (
    select
        cumulated.latent_id,
        cumulated.trend,
        cumulated.score,
        (
            cumulated.true_positives * counts.n_inactive
            - cumulated.false_positives * counts.n_trials
        ) / (counts.n_trials * counts.n_inactive) as youden_j
    from cumulated
    inner join counts on cumulated.latent_id = counts.latent_id and counts.side = 'construct'
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

hits as (
    select
        thresholds.latent_id,
        thresholds.trend,
        sum(scores.n_active) as n_active,
        sum(scores.n_inactive) as n_inactive
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
        + 1 - coalesce(hits.n_inactive, 0) / counts.n_inactive
    ) / 2 as balanced_accuracy
from hits
inner join counts on hits.latent_id = counts.latent_id and counts.side = 'verify'
