-- reference_predictions: the built-in judge of the paper's protocol, which predicts a level.
-- grain:  run_id, latent_id, case_id
-- reads:  confidence.reference_cases, staging.case_items, staging.case_pool, staging.tags
-- params:
--   $run_id     VARCHAR the SAE run
--   $label_tags BIGINT  tags the judge describes a latent with
-- yields:
--   run_id          VARCHAR the SAE run
--   latent_id       INTEGER 0-based
--   case_id         BIGINT  0-based, a verifying case
--   is_active       BOOLEAN the truth
--   predicted_level BIGINT  0 (like any case) .. 10 (like the describing ones); NULL = no tags
-- source: section 4.3 of the paper with tags in place of its language model: the tags whose share
--         in the describing cases is furthest above the pool's, in standard deviations
with chosen as (
    select * from confidence.reference_cases where run_id = $run_id
),

case_items as (
    select * from staging.case_items where run_id = $run_id
),

tags as (
    select * from staging.tags where run_id = $run_id
),

pool as (
    select * from staging.case_pool where run_id = $run_id and side = 'construct'
),

needed as (
    select case_id from chosen
    union
    select case_id from pool
),

shares as (
    select
        needed.case_id,
        tags.tag,
        sum(case_items.weight)::bigint as share
    from needed
    inner join case_items on needed.case_id = case_items.case_id
    inner join tags on case_items.item_id = tags.item_id
    group by needed.case_id, tags.tag
),

pool_size as (
    select count(*) as n_cases from pool
),

pool_tags as (
    select
        shares.tag,
        sum(shares.share)::double / any_value(pool_size.n_cases) as mean,
        sqrt(
            greatest(
                sum(shares.share * shares.share)::double / any_value(pool_size.n_cases)
                - power(sum(shares.share)::double / any_value(pool_size.n_cases), 2),
                0
            )
        ) as spread
    from pool
    inner join shares on pool.case_id = shares.case_id
    cross join pool_size
    group by shares.tag
),

describing_size as (
    select
        latent_id,
        count(*) as n_cases
    from chosen
    where role = 'describe'
    group by latent_id
),

describing_tags as (
    select
        chosen.latent_id,
        shares.tag,
        sum(shares.share)::double / any_value(describing_size.n_cases) as mean
    from chosen
    inner join shares on chosen.case_id = shares.case_id
    inner join describing_size on chosen.latent_id = describing_size.latent_id
    where chosen.role = 'describe'
    group by chosen.latent_id, shares.tag
),

contrasts as (
    select
        describing_tags.latent_id,
        describing_tags.tag,
        (describing_tags.mean - pool_tags.mean) / pool_tags.spread as contrast,
        round(1e9 / pool_tags.spread)::bigint as weight,
        describing_tags.mean as describing_mean,
        pool_tags.mean as pool_mean
    from describing_tags
    inner join pool_tags on describing_tags.tag = pool_tags.tag
    where pool_tags.spread > 0 and describing_tags.mean > pool_tags.mean
),

concept as (
    select
        *,
        row_number() over (partition by latent_id order by contrast desc, tag) as place
    from contrasts
),

scales as (
    select
        latent_id,
        sum(weight * pool_mean order by place) as low,
        sum(weight * describing_mean order by place) as high
    from concept
    where place <= $label_tags
    group by latent_id
),

scores as (
    select
        chosen.latent_id,
        chosen.case_id,
        sum(shares.share * concept.weight)::double as score
    from chosen
    inner join concept
        on chosen.latent_id = concept.latent_id and concept.place <= $label_tags
    inner join shares on chosen.case_id = shares.case_id and concept.tag = shares.tag
    where chosen.role = 'verify'
    group by chosen.latent_id, chosen.case_id
)

select
    $run_id as run_id,
    chosen.latent_id,
    chosen.case_id,
    chosen.is_active,
    -- least and greatest pass over a NULL, so no tags must be told apart first
    case
        when scales.high is not null
            then
                greatest(
                    least(
                        round(
                            10
                            * (coalesce(scores.score, 0) - scales.low)
                            / (scales.high - scales.low)
                        ),
                        10
                    ),
                    0
                )
    end::bigint as predicted_level
from chosen
left join scales on chosen.latent_id = scales.latent_id
left join scores on chosen.latent_id = scores.latent_id and chosen.case_id = scores.case_id
where chosen.role = 'verify'
