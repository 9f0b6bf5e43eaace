-- concept_groups: interpretable latents of a run that mean the same, by all their tags, as one row.
-- grain:  run_id, latent_id
-- reads:  raw.activations, staging.cases, staging.level_edges, main.latents, main.latent_tags
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
-- source: computed when asked, leader by leader: the surest latent leads a group that all latents
--         alike join, then the surest of the rest leads, and so on. Alike means a cosine of .75 or
--         more between the z of their tags, those beyond the label included
with recursive latents as (
    select
        *,
        row_number() over (
            partition by run_id
            order by confidence_low desc, latent_id
        ) as place
    from main.latents
    where status = 'interpretable'
),

tags as (
    select
        latents.run_id,
        latents.latent_id,
        latents.place,
        latent_tags.tag,
        latent_tags.z
        / sqrt(
            sum(latent_tags.z * latent_tags.z order by latent_tags.rank) over (
                partition by latents.run_id, latents.latent_id
            )
        ) as share
    from latents
    inner join main.latent_tags as latent_tags
        on latents.run_id = latent_tags.run_id and latents.latent_id = latent_tags.latent_id
),

cosines as (
    select
        surer.run_id,
        surer.latent_id as leader_id,
        other.latent_id,
        sum(surer.share * other.share order by surer.tag) as cosine
    from tags as surer
    inner join tags as other on surer.run_id = other.run_id and surer.tag = other.tag
    where surer.place < other.place
    group by surer.run_id, surer.latent_id, other.latent_id
    having sum(surer.share * other.share order by surer.tag) >= 0.75
),

surer_latents as (
    select
        latents.run_id,
        latents.latent_id,
        latents.place,
        list(cosines.leader_id) filter (where cosines.leader_id is not null) as alike
    from latents
    left join cosines
        on latents.run_id = cosines.run_id and latents.latent_id = cosines.latent_id
    group by latents.run_id, latents.latent_id, latents.place
),

leaders (run_id, leader_ids) as (
    -- in each step the surest latent that is no leader and is alike to none
    select
        run_id,
        [latent_id] as leader_ids
    from surer_latents
    where place = 1
    union all
    select
        leaders.run_id,
        list_append(leaders.leader_ids, arg_min(rest.latent_id, rest.place)) as leader_ids
    from leaders
    inner join surer_latents as rest on leaders.run_id = rest.run_id
    where
        not list_contains(leaders.leader_ids, rest.latent_id)
        and not list_has_any(coalesce(rest.alike, []), leaders.leader_ids)
    group by leaders.run_id, leaders.leader_ids
),

found as (
    select
        run_id,
        unnest(arg_max(leader_ids, len(leader_ids))) as leader_id
    from leaders
    group by run_id
),

members as (
    select
        found.run_id,
        found.leader_id,
        found.leader_id as latent_id,
        1.0::double as cosine
    from found
    union all
    -- alike to several leaders: with the surest
    select
        cosines.run_id,
        arg_min(cosines.leader_id, latents.place) as leader_id,
        cosines.latent_id,
        arg_min(cosines.cosine, latents.place) as cosine
    from cosines
    inner join found
        on cosines.run_id = found.run_id and cosines.leader_id = found.leader_id
    inner join latents
        on found.run_id = latents.run_id and found.leader_id = latents.latent_id
    group by cosines.run_id, cosines.latent_id
),

covered as (
    select
        members.run_id,
        members.leader_id,
        count(distinct activations.user_id) as n_users
    from members
    inner join raw.activations as activations
        on members.run_id = activations.run_id and members.latent_id = activations.latent_id
    inner join staging.level_edges as edges on activations.run_id = edges.run_id
    inner join staging.cases as cases
        on activations.run_id = cases.run_id and activations.case_id = cases.case_id
    where cases.side = 'verify' and activations.value::double >= edges.edges[4]
    group by members.run_id, members.leader_id
),

tags_of_groups as (
    select
        run_id,
        leader_id,
        list(concept order by place) as concepts
    from (
        select
            members.run_id,
            members.leader_id,
            latents.concept,
            min(latents.place) as place
        from members
        inner join latents
            on members.run_id = latents.run_id and members.latent_id = latents.latent_id
        group by members.run_id, members.leader_id, latents.concept
    ) as firsts
    group by run_id, leader_id
),

groups as (
    select
        members.run_id,
        members.leader_id,
        count(*) as n_latents,
        list(members.latent_id order by latents.place) as latent_ids,
        min(members.cosine) as least_alike
    from members
    inner join latents
        on members.run_id = latents.run_id and members.latent_id = latents.latent_id
    group by members.run_id, members.leader_id
)

select
    groups.run_id,
    groups.leader_id as latent_id,
    latents.label,
    latents.concept,
    latents.confidence,
    latents.confidence_low,
    groups.n_latents,
    groups.latent_ids,
    tags_of_groups.concepts,
    groups.least_alike,
    coalesce(covered.n_users, 0) as n_users,
    latents.examples
from groups
inner join latents
    on groups.run_id = latents.run_id and groups.leader_id = latents.latent_id
inner join tags_of_groups
    on groups.run_id = tags_of_groups.run_id and groups.leader_id = tags_of_groups.leader_id
left join covered
    on groups.run_id = covered.run_id and groups.leader_id = covered.leader_id
