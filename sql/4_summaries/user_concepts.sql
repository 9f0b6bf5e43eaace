-- user_concepts: on how many of a user's cases an interpretable latent of a concept is active.
-- grain:  run_id, user_id, concept
-- reads:  raw.runs, raw.cases, raw.activations, staging.level_edges, concepts.labels,
--         confidence.scores
-- yields:
--   run_id       VARCHAR the SAE run
--   user_id      INTEGER 1-based; users with such a case
--   concept      VARCHAR leading tag of the latents, kind:value
--   n_active     BIGINT  cases on which at least one of them is at level 5 or above
--   share_active DOUBLE  n_active by all cases of the user, 0-1
-- source: kept as Parquet by recsae confidence; of a run without it counted when asked
with interpretable as (
    select
        scores.run_id,
        scores.latent_id,
        labels.leading_tag as concept
    from confidence.scores as scores
    inner join concepts.labels as labels
        on scores.run_id = labels.run_id and scores.latent_id = labels.latent_id
    where scores.status = 'interpretable'
),

active as (
    select distinct
        activations.run_id,
        activations.user_id,
        interpretable.concept,
        activations.case_id
    from raw.activations as activations
    inner join interpretable
        on
            activations.run_id = interpretable.run_id
            and activations.latent_id = interpretable.latent_id
    inner join staging.level_edges as edges on activations.run_id = edges.run_id
    where activations.value::double >= edges.edges[4]
),

counted as (
    select
        run_id,
        user_id,
        concept,
        count(*) as n_active
    from active
    group by run_id, user_id, concept
),

cases as (
    select
        run_id,
        user_id,
        count(*) as n_cases
    from raw.cases
    group by run_id, user_id
)

select
    counted.run_id,
    counted.user_id,
    counted.concept,
    counted.n_active,
    counted.n_active / cases.n_cases as share_active
from counted
inner join raw.runs as runs on counted.run_id = runs.run_id
left join cases on runs.parent_run_id = cases.run_id and counted.user_id = cases.user_id
