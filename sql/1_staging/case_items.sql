-- case_items: what a case looks like to a person, as weighted items.
-- grain:  run_id, case_id, item_id
-- reads:  raw.runs, raw.recommendations, raw.interactions, staging.cases, staging.item_sides
-- params:
--   $run_id        VARCHAR the SAE run
--   $top_items     BIGINT  recommendations that describe a case; weight 1/log2(rank + 1)
--   $history_items BIGINT  last items of the history that describe a case; equal weights
-- yields:
--   run_id    VARCHAR the SAE run
--   case_id   BIGINT  0-based
--   item_id   INTEGER 1-based
--   item_side VARCHAR A or B
--   weight    INTEGER share of the item in millionths; recommendations and history are half each
-- source: docs/decisions.md: held-out AUC .90 against .79 for the top recommendation alone, which
--         is what the paper uses. Whole millionths make every later sum exact, so that results do
--         not depend on the number of threads.
with runs as (
    select * from raw.runs where run_id = $run_id
),

cases as (
    select * from staging.cases where run_id = $run_id
),

sides as (
    select * from staging.item_sides where run_id = $run_id
),

top_items as (
    select
        recommendations.case_id,
        recommendations.item_id,
        1 / log2(recommendations.rank + 1) as raw_weight
    from raw.recommendations as recommendations
    inner join runs on recommendations.run_id = runs.parent_run_id
    inner join cases on recommendations.case_id = cases.case_id
    where recommendations.rank <= $top_items
),

history_places as (
    select
        case_id,
        user_id,
        unnest(generate_series(greatest(position - $history_items + 1, 1), position)) as position
    from cases
    where $history_items > 0
),

history as (
    select
        places.case_id,
        interactions.item_id,
        1.0::double as raw_weight
    from history_places as places
    inner join raw.interactions as interactions
        on places.user_id = interactions.user_id and places.position = interactions.position
    inner join runs on interactions.dataset = runs.dataset
),

parts as (
    select 'top' as part, * from top_items
    union all
    select 'history' as part, * from history
),

totals as (
    -- one weight per number of items, so the sum of the part must not depend on row order
    select
        case_id,
        part,
        sum(round(raw_weight * 1000000)::bigint)::bigint as total
    from parts
    group by case_id, part
),

shares as (
    select
        parts.case_id,
        parts.item_id,
        round(parts.raw_weight * 500000000000.0 / totals.total)::bigint as share
    from parts
    inner join totals on parts.case_id = totals.case_id and parts.part = totals.part
)

select
    $run_id as run_id,
    shares.case_id,
    shares.item_id,
    sides.item_side,
    sum(shares.share)::integer as weight
from shares
inner join sides on shares.item_id = sides.item_id
group by shares.case_id, shares.item_id, sides.item_side
