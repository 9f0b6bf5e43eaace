-- latents: every latent of every autoencoder with its label and how sure it is.
-- grain:  run_id, latent_id
-- reads:  raw.runs, raw.items, concepts.labels, concepts.example_items, confidence.scores
-- yields:
--   run_id             VARCHAR   the SAE run
--   latent_id          INTEGER   0-based
--   label              VARCHAR   tags, strongest first; NULL without a concept
--   concept            VARCHAR   the leading tag, kind:value; NULL without a concept
--   status             VARCHAR   interpretable, not shown, too rare or dead; NULL when not verified
--   confidence         DOUBLE    balanced accuracy on held-out cases, 0-1; NULL when not verified
--   confidence_low     DOUBLE    its lower 95% bound
--   null_mean          DOUBLE    mean balanced accuracy under permuted tags
--   q_value            DOUBLE    share of latents this good that permuted tags also give, 0-1
--   auc                DOUBLE    0-1
--   recall             DOUBLE    0-1
--   specificity        DOUBLE    0-1
--   precision          DOUBLE    at the true share of active cases, 0-1
--   profile_confidence DOUBLE    balanced accuracy with all the tags of the profile
--   n_fired            BIGINT    cases with a positive activation
--   n_active           BIGINT    held-out active cases
--   n_users            BIGINT    held-out users with an active case
--   tags               VARCHAR[] tags of the label, kind:value, strongest first
--   examples           VARCHAR[] titles (or ids) of the example items, strongest first
with latents as (
    select
        run_id,
        unnest(generate_series(0, (params ->> '$.n_latents')::integer - 1))::integer as latent_id
    from raw.runs
    where kind = 'sae'
),

examples as (
    select
        example_items.run_id,
        example_items.latent_id,
        list(coalesce(items.title, items.source_item_id) order by example_items.rank) as titles
    from concepts.example_items as example_items
    inner join raw.runs as runs on example_items.run_id = runs.run_id
    inner join raw.items as items
        on runs.dataset = items.dataset and example_items.item_id = items.item_id
    group by example_items.run_id, example_items.latent_id
)

select
    latents.run_id,
    latents.latent_id,
    labels.label,
    labels.leading_tag as concept,
    scores.status,
    scores.confidence,
    scores.confidence_low,
    scores.null_mean,
    scores.q_value,
    scores.auc,
    scores.recall,
    scores.specificity,
    scores.precision,
    scores.profile_confidence,
    scores.n_fired,
    scores.n_active,
    scores.n_users,
    coalesce(labels.tags, []) as tags,
    coalesce(examples.titles, []) as examples
from latents
left join concepts.labels as labels
    on latents.run_id = labels.run_id and latents.latent_id = labels.latent_id
left join confidence.scores as scores
    on latents.run_id = scores.run_id and latents.latent_id = scores.latent_id
left join examples
    on latents.run_id = examples.run_id and latents.latent_id = examples.latent_id
