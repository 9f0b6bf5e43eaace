-- latent_items: how much of each item a latent's active construct cases hold.
-- grain:  run_id, latent_id, item_id
-- reads:  staging.activation_levels, staging.case_items
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   item_id   INTEGER 1-based
--   item_side VARCHAR A or B
--   weight    BIGINT  millionths of a case, summed over the active construct cases
-- source: aggregated to items before tags are joined, which is what keeps large runs fast
with firings as (
    select *
    from staging.activation_levels
    where run_id = $run_id and side = 'construct' and is_active
),

case_items as (
    select * from staging.case_items where run_id = $run_id
)

select
    firings.run_id,
    firings.latent_id,
    case_items.item_id,
    case_items.item_side,
    sum(case_items.weight)::bigint as weight
from firings
inner join case_items on firings.case_id = case_items.case_id
group by firings.run_id, firings.latent_id, case_items.item_id, case_items.item_side
