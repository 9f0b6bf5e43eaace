-- best_concepts: interpretable latents, the surest first, with the numbers that back their labels.
-- grain:  latent_id
-- reads:  raw.runs, raw.items, concepts.labels, concepts.example_items, confidence.scores
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   latent_id      INTEGER   0-based
--   leading_tag    VARCHAR   kind:value
--   label          VARCHAR   tags, strongest first
--   examples       VARCHAR[] titles (or ids) of the example items, strongest first
--   auc            DOUBLE    0-1
--   confidence     DOUBLE    balanced accuracy on held-out cases
--   confidence_low DOUBLE    its lower 95% bound
--   recall         DOUBLE    0-1
--   specificity    DOUBLE    0-1
--   precision      DOUBLE    at the true share of active cases, 0-1
--   null_mean      DOUBLE    mean balanced accuracy under permuted tags
--   p_value        DOUBLE    0-1
--   q_value        DOUBLE    0-1
--   trend          VARCHAR   popular, long tail, recent or old; NULL when no trend tells its cases
--   n_active       BIGINT    held-out active cases
--   n_users        BIGINT    held-out users with an active case
--   place          BIGINT    1 = best latent with this leading tag
--   n_same         BIGINT    interpretable latents with this leading tag
with scores as (
    select * from confidence.scores where run_id = $run_id and status = 'interpretable'
),

labels as (
    select * from concepts.labels where run_id = $run_id
),

examples as (
    select
        example_items.latent_id,
        list(coalesce(items.title, items.source_item_id) order by example_items.rank) as titles
    from concepts.example_items as example_items
    inner join raw.runs as runs on example_items.run_id = runs.run_id
    inner join raw.items as items
        on runs.dataset = items.dataset and example_items.item_id = items.item_id
    where example_items.run_id = $run_id
    group by example_items.latent_id
)

select
    scores.latent_id,
    labels.leading_tag,
    labels.label,
    coalesce(examples.titles, []) as examples,
    scores.auc,
    scores.confidence,
    scores.confidence_low,
    scores.recall,
    scores.specificity,
    scores.precision,
    scores.null_mean,
    scores.p_value,
    scores.q_value,
    scores.trend,
    scores.n_active,
    scores.n_users,
    row_number() over (
        partition by labels.leading_tag
        order by scores.confidence_low desc, scores.latent_id
    ) as place,
    count(*) over (partition by labels.leading_tag) as n_same
from scores
inner join labels on scores.latent_id = labels.latent_id
left join examples on scores.latent_id = examples.latent_id
order by scores.confidence_low desc, scores.latent_id
