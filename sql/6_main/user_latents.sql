-- user_latents: how often and how strongly each latent fires for each user.
-- grain:  run_id, user_id, latent_id
-- reads:  raw.runs, raw.users, raw.cases, raw.activations, staging.level_edges,
--         concepts.labels, confidence.scores
-- yields:
--   run_id       VARCHAR the SAE run
--   user_id      INTEGER 1-based
--   latent_id    INTEGER 0-based; latents that fire on at least one case of the user
--   user         VARCHAR id of the user in the source files
--   label        VARCHAR label of the latent; NULL without a concept
--   concept      VARCHAR its leading tag, kind:value
--   status       VARCHAR interpretable, not shown, too rare or dead; NULL when not verified
--   confidence   DOUBLE  balanced accuracy on held-out cases, 0-1
--   n_fired      BIGINT  cases of the user on which it fires
--   n_active     BIGINT  those at level 5 or above; NULL without concepts
--   share_active DOUBLE  n_active by all cases of the user, 0-1
--   max_value    FLOAT   highest activation
-- source: computed when asked; name a run_id, and a user_id, user or latent_id where one is meant
with users as (
    select
        runs.run_id,
        users.user_id,
        users.source_user_id
    from raw.runs as runs
    inner join raw.users as users on runs.dataset = users.dataset
),

cases as (
    select
        runs.run_id,
        cases.user_id,
        count(*) as n_cases
    from raw.runs as runs
    inner join raw.cases as cases on runs.parent_run_id = cases.run_id
    group by runs.run_id, cases.user_id
),

firings as (
    select
        activations.run_id,
        activations.user_id,
        activations.latent_id,
        -- among the keys, so that a filter on it comes before the counting
        users.source_user_id as user,
        count(*) as n_fired,
        count(*) filter (where activations.value::double >= edges.edges[4]) as n_active,
        count(edges.edges) > 0 as has_levels,
        max(activations.value) as max_value
    from raw.activations as activations
    left join users
        on activations.run_id = users.run_id and activations.user_id = users.user_id
    left join staging.level_edges as edges on activations.run_id = edges.run_id
    where activations.run_id in (select run_id from raw.runs)
    group by
        activations.run_id, activations.user_id, activations.latent_id, users.source_user_id
)

select
    firings.run_id,
    firings.user_id,
    firings.latent_id,
    firings.user,
    labels.label,
    labels.leading_tag as concept,
    scores.status,
    scores.confidence,
    firings.n_fired,
    case when firings.has_levels then firings.n_active end as n_active,
    case when firings.has_levels then firings.n_active / cases.n_cases end as share_active,
    firings.max_value
from firings
left join cases on firings.run_id = cases.run_id and firings.user_id = cases.user_id
left join concepts.labels as labels
    on firings.run_id = labels.run_id and firings.latent_id = labels.latent_id
left join confidence.scores as scores
    on firings.run_id = scores.run_id and firings.latent_id = scores.latent_id
