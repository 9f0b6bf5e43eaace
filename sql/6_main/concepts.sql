-- concepts: what a run has learned: interpretable latents that share their leading tag, as one row.
-- grain:  run_id, concept
-- reads:  main.latents
-- yields:
--   run_id         VARCHAR   the SAE run
--   concept        VARCHAR   the leading tag, kind:value
--   n_latents      BIGINT    interpretable latents with this leading tag
--   latent_ids     INTEGER[] these latents, the surest first
--   latent_id      INTEGER   the surest of them
--   label          VARCHAR   its label
--   confidence     DOUBLE    its balanced accuracy on held-out cases, 0-1
--   confidence_low DOUBLE    the lower 95% bound, which orders the latents
--   n_users        BIGINT    its held-out users with an active case
--   examples       VARCHAR[] titles (or ids) of its example items, strongest first
with found as (
    select
        *,
        row_number() over (
            partition by run_id, concept
            order by confidence_low desc, latent_id
        ) as place
    from main.latents
    where status = 'interpretable'
)

select
    run_id,
    concept,
    count(*) as n_latents,
    list(latent_id order by place) as latent_ids,
    arg_min(latent_id, place) as latent_id,
    arg_min(label, place) as label,
    arg_min(confidence, place) as confidence,
    arg_min(confidence_low, place) as confidence_low,
    arg_min(n_users, place) as n_users,
    arg_min(examples, place) as examples
from found
group by run_id, concept
