-- latent_positions: on how many cases each latent fires, by how long the history of the case is.
-- grain:  run_id, latent_id, position
-- reads:  raw.runs, raw.cases, raw.activations, staging.level_edges
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   position  INTEGER length of the history that the case has seen
--   n_fired   BIGINT  cases of that length on which the latent fires
--   n_active  BIGINT  those at level 5 or above; NULL without concepts
-- source: kept as Parquet by recsae confidence; of a run without it counted when asked
with found as (
    select
        activations.run_id,
        activations.latent_id,
        cases.position,
        count(*) as n_fired,
        count(*) filter (where activations.value::double >= edges.edges[4]) as n_active,
        count(edges.edges) > 0 as has_levels
    from raw.activations as activations
    inner join raw.runs as runs on activations.run_id = runs.run_id
    inner join raw.cases as cases
        on runs.parent_run_id = cases.run_id and activations.case_id = cases.case_id
    left join staging.level_edges as edges on activations.run_id = edges.run_id
    group by activations.run_id, activations.latent_id, cases.position
)

select
    run_id,
    latent_id,
    position,
    n_fired,
    case when has_levels then n_active end as n_active
from found
