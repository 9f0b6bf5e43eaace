-- case_latents: which latents fire at a moment of a user, and what is recommended there.
-- grain:  run_id, case_id, latent_id
-- reads:  raw.runs, raw.users, raw.items, raw.cases, raw.activations, staging.level_edges,
--         concepts.labels, confidence.scores
-- yields:
--   run_id     VARCHAR the SAE run
--   case_id    BIGINT  0-based, as in raw.cases of its recommender
--   latent_id  INTEGER 0-based
--   user_id    INTEGER 1-based
--   user       VARCHAR id of the user in the source files
--   position   INTEGER length of the history that the case has seen
--   split      VARCHAR train, dev or test: split of the interaction that follows
--   title      VARCHAR title (or id) of the first recommendation
--   value      FLOAT   activation, above 0
--   level      INTEGER 1 (weakest tenth of the run) .. 10; active from 5; NULL without concepts
--   label      VARCHAR label of the latent; NULL without a concept
--   concept    VARCHAR its leading tag, kind:value
--   status     VARCHAR interpretable, not shown, too rare or dead; NULL when not verified
--   confidence DOUBLE  balanced accuracy on held-out cases, 0-1
-- source: computed when asked; name a run_id, and a latent_id or user_id where one is meant
with cases as (
    select
        runs.run_id,
        cases.case_id,
        cases.position,
        cases.split
    from raw.runs as runs
    inner join raw.cases as cases on runs.parent_run_id = cases.run_id
),

users as (
    select
        runs.run_id,
        users.user_id,
        users.source_user_id
    from raw.runs as runs
    inner join raw.users as users on runs.dataset = users.dataset
),

items as (
    select
        runs.run_id,
        items.item_id,
        coalesce(items.title, items.source_item_id) as title
    from raw.runs as runs
    inner join raw.items as items on runs.dataset = items.dataset
)

select
    activations.run_id,
    activations.case_id,
    activations.latent_id,
    activations.user_id,
    users.source_user_id as user,
    cases.position,
    cases.split,
    items.title,
    activations.value,
    case
        when edges.edges is not null
            then
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
    end as level,
    labels.label,
    labels.leading_tag as concept,
    scores.status,
    scores.confidence
from raw.activations as activations
left join cases on activations.run_id = cases.run_id and activations.case_id = cases.case_id
left join users on activations.run_id = users.run_id and activations.user_id = users.user_id
left join items on activations.run_id = items.run_id and activations.item_id = items.item_id
left join staging.level_edges as edges on activations.run_id = edges.run_id
left join concepts.labels as labels
    on activations.run_id = labels.run_id and activations.latent_id = labels.latent_id
left join confidence.scores as scores
    on activations.run_id = scores.run_id and activations.latent_id = scores.latent_id
where activations.run_id in (select run_id from raw.runs)
