-- level_edges: the deciles of the positive activations of a run on the cases that are looked at.
-- grain:  run_id
-- reads:  raw.activations, staging.cases
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id        VARCHAR  the SAE run
--   n_activations BIGINT   positive activations on these cases
--   edges         DOUBLE[] the 10%, 20% .. 90% quantiles, ascending, each rounded up to a FLOAT
-- source: section 4.3.1 of the paper (levels of activation); quantile_cont, not ntile, so that
--         equal values always share a level. All cases of a run are looked at up to $max_cases of
--         staging.cases; of a larger one the values of all would not fit into memory. Activations
--         are FLOAT, so rounding an edge up to a FLOAT changes none of their levels; it takes away
--         last digits, in which versions of DuckDB differ and by which an edge can miss its value.
with activations as (
    select * from raw.activations where run_id = $run_id
),

cases as (
    select case_id from staging.cases where run_id = $run_id
),

quantiles as (
    select
        activations.run_id,
        count(*) as n_activations,
        quantile_cont(
            activations.value::double, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        ) as edges
    from activations
    semi join cases on activations.case_id = cases.case_id
    group by activations.run_id
)

select
    run_id,
    n_activations,
    -- the nearest FLOAT, or if that is below by more than such a last digit, the next one
    list_transform(
        edges,
        lambda edge: if(
            edge::float::double >= edge * (1 - 1e-12),
            edge::float,
            (edge::float::double * 1.0000000715)::float
        )::double
    ) as edges
from quantiles
