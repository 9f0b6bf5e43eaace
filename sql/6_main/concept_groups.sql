-- concept_groups: interpretable latents of a run that mean the same, by all their tags, as one row.
-- grain:  run_id, latent_id
-- reads:  confidence.concept_groups, main.latents
-- yields:
--   run_id         VARCHAR   the SAE run
--   latent_id      INTEGER   the surest latent of the group, which leads it
--   label          VARCHAR   its label
--   concept        VARCHAR   its leading tag, kind:value
--   confidence     DOUBLE    its balanced accuracy on held-out cases, 0-1
--   confidence_low DOUBLE    the lower 95% bound, which orders the latents
--   n_latents      BIGINT    latents of the group
--   latent_ids     INTEGER[] these latents, the surest first
--   concepts       VARCHAR[] their leading tags, each once, by the surest latent that has it
--   least_alike    DOUBLE    lowest cosine between the leader and another latent; else 1
--   n_users        BIGINT    held-out users with an active case of any of them
--   examples       VARCHAR[] titles (or ids) of the example items of the leader, strongest first
with members as (
    select
        run_id,
        latent_id as leader_id,
        unnest(latent_ids) as latent_id,
        unnest(range(len(latent_ids))) as place
    from confidence.concept_groups
),

firsts as (
    select
        members.run_id,
        members.leader_id,
        latents.concept,
        min(members.place) as place
    from members
    inner join main.latents as latents
        on members.run_id = latents.run_id and members.latent_id = latents.latent_id
    group by members.run_id, members.leader_id, latents.concept
),

tags as (
    select
        run_id,
        leader_id,
        list(concept order by place) as concepts
    from firsts
    group by run_id, leader_id
)

select
    groups.run_id,
    groups.latent_id,
    latents.label,
    latents.concept,
    latents.confidence,
    latents.confidence_low,
    len(groups.latent_ids) as n_latents,
    groups.latent_ids,
    tags.concepts,
    groups.least_alike,
    groups.n_users,
    latents.examples
from confidence.concept_groups as groups
inner join main.latents as latents
    on groups.run_id = latents.run_id and groups.latent_id = latents.latent_id
inner join tags on groups.run_id = tags.run_id and groups.latent_id = tags.leader_id
