-- item_exposure: how much of each item the construct cases hold in all, the background.
-- grain:  run_id, item_id
-- reads:  staging.cases, staging.case_items
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id    VARCHAR the SAE run
--   item_id   INTEGER 1-based
--   item_side VARCHAR A or B
--   weight    BIGINT  millionths of a case, summed over the construct cases
with cases as (
    select * from staging.cases where run_id = $run_id and side = 'construct'
),

case_items as (
    select * from staging.case_items where run_id = $run_id
)

select
    cases.run_id,
    case_items.item_id,
    case_items.item_side,
    sum(case_items.weight)::bigint as weight
from cases
inner join case_items on cases.case_id = case_items.case_id
group by cases.run_id, case_items.item_id, case_items.item_side
