-- level_edges: the deciles of all positive activations of a run.
-- grain:  run_id
-- reads:  raw.activations
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id        VARCHAR  the SAE run
--   n_activations BIGINT   positive activations
--   edges         DOUBLE[] the 10%, 20% .. 90% quantiles, ascending
-- source: section 4.3.1 of the paper (levels of activation); quantile_cont, not ntile, so that
--         equal values always share a level
select
    run_id,
    count(*) as n_activations,
    quantile_cont(value::double, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) as edges
from raw.activations
where run_id = $run_id
group by run_id
