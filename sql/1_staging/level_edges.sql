-- level_edges: the deciles of the positive activations of a run on the cases that are looked at.
-- grain:  run_id
-- reads:  raw.activations, staging.cases
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id        VARCHAR  the SAE run
--   n_activations BIGINT   positive activations on these cases
--   edges         DOUBLE[] the 10%, 20% .. 90% quantiles, ascending
-- source: section 4.3.1 of the paper (levels of activation); quantile_cont, not ntile, so that
--         equal values always share a level. All cases of a run are looked at up to $max_cases of
--         staging.cases; of a larger one the values of all would not fit into memory.
with activations as (
    select * from raw.activations where run_id = $run_id
),

cases as (
    select case_id from staging.cases where run_id = $run_id
)

select
    activations.run_id,
    count(*) as n_activations,
    quantile_cont(
        activations.value::double, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    ) as edges
from activations
semi join cases on activations.case_id = cases.case_id
group by activations.run_id
