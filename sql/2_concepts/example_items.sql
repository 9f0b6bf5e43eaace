-- example_items: first recommendations of the construct cases on which a latent fires strongest.
-- grain:  run_id, latent_id, rank
-- reads:  staging.activation_levels
-- params:
--   $run_id     VARCHAR the SAE run
--   $n_examples BIGINT  items per latent
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   rank      BIGINT  1 = strongest
--   item_id   INTEGER 1-based
--   value     FLOAT   highest activation of a case whose first recommendation is the item
--   n_cases   BIGINT  construct cases with this first recommendation on which the latent fires
-- source: section 4.3.1 of the paper (top activating cases and their recommended item)
with firings as (
    select *
    from staging.activation_levels
    where run_id = $run_id and side = 'construct'
),

items as (
    select
        latent_id,
        item_id,
        max(value) as value,
        count(*) as n_cases
    from firings
    group by latent_id, item_id
),

ranked as (
    select
        *,
        row_number() over (partition by latent_id order by value desc, item_id) as rank
    from items
)

select
    $run_id as run_id,
    latent_id,
    rank,
    item_id,
    value,
    n_cases
from ranked
where rank <= $n_examples
