-- activation_levels: each positive activation with its level and the side of its user.
-- grain:  run_id, latent_id, case_id
-- reads:  raw.activations, staging.cases, staging.level_edges
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   case_id   BIGINT  0-based
--   user_id   INTEGER 1-based
--   side      VARCHAR construct or verify
--   item_id   INTEGER the case's first recommendation
--   value     FLOAT   activation, above zero
--   level     INTEGER 1 (weakest tenth of the run) .. 10 (strongest)
--   is_active BOOLEAN level >= 5: at or above the 40% quantile of the run
-- source: section 4.3.1 of the paper; the reference also calls level 5 and above active
with activations as (
    select * from raw.activations where run_id = $run_id
),

cases as (
    select * from staging.cases where run_id = $run_id
),

edges as (
    select * from staging.level_edges where run_id = $run_id
),

levels as (
    select
        activations.*,
        (
            1
            + (activations.value::double >= edges.edges[1])::integer
            + (activations.value::double >= edges.edges[2])::integer
            + (activations.value::double >= edges.edges[3])::integer
            + (activations.value::double >= edges.edges[4])::integer
            + (activations.value::double >= edges.edges[5])::integer
            + (activations.value::double >= edges.edges[6])::integer
            + (activations.value::double >= edges.edges[7])::integer
            + (activations.value::double >= edges.edges[8])::integer
            + (activations.value::double >= edges.edges[9])::integer
        ) as level
    from activations
    cross join edges
)

select
    levels.run_id,
    levels.latent_id,
    levels.case_id,
    levels.user_id,
    cases.side,
    levels.item_id,
    levels.value,
    levels.level,
    levels.level >= 5 as is_active
from levels
inner join cases on levels.case_id = cases.case_id
