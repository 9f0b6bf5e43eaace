-- tag_spread: how much the share of a tag varies between cases, the unit of its weight.
-- grain:  run_id, item_side, tag
-- reads:  staging.case_pool, staging.case_items, staging.tags
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id    VARCHAR the SAE run
--   item_side VARCHAR A or B: the share of the tag on items of this side
--   tag       VARCHAR kind:value
--   mean      DOUBLE  mean share over the construct pool, 0-1
--   spread    DOUBLE  standard deviation of the share over the construct pool
with pool as (
    select * from staging.case_pool where run_id = $run_id and side = 'construct'
),

case_items as (
    select * from staging.case_items where run_id = $run_id
),

tags as (
    select * from staging.tags where run_id = $run_id
),

pool_size as (
    select count(*) as n_cases from pool
),

shares as (
    select
        pool.case_id,
        case_items.item_side,
        tags.tag,
        sum(case_items.weight)::bigint as share
    from pool
    inner join case_items on pool.case_id = case_items.case_id
    inner join tags on case_items.item_id = tags.item_id
    group by pool.case_id, case_items.item_side, tags.tag
),

sums as (
    select
        item_side,
        tag,
        sum(share)::double as total,
        sum(share * share)::double as total_of_squares
    from shares
    group by item_side, tag
)

select
    $run_id as run_id,
    sums.item_side,
    sums.tag,
    sums.total / pool_size.n_cases / 1000000.0 as mean,
    sqrt(
        greatest(
            sums.total_of_squares / pool_size.n_cases
            - (sums.total / pool_size.n_cases) * (sums.total / pool_size.n_cases),
            0
        )
    )
    / 1000000.0 as spread
from sums
cross join pool_size
