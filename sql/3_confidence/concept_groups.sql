-- concept_groups: interpretable latents of a run that mean the same, by all their tags, as one row.
-- grain:  run_id, latent_id
-- reads:  staging.activation_levels, concepts.concept_tags, confidence.scores
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id      VARCHAR   the SAE run
--   latent_id   INTEGER   the surest latent of the group, which leads it
--   latent_ids  INTEGER[] the latents of the group, the surest first
--   least_alike DOUBLE    lowest cosine between the leader and another latent; else 1
--   n_users     BIGINT    held-out users with an active case of any of them
-- source: leader by leader: the surest latent leads a group that all latents alike join, then the
--         surest of the rest leads, and so on. Alike means a cosine of .75 or more between the z of
--         their tags, those beyond the label included (docs/decisions.md)
with recursive latents as (
    select
        latent_id,
        row_number() over (order by confidence_low desc, latent_id) as place
    from confidence.scores
    where run_id = $run_id and status = 'interpretable'
),

pooled as (
    select
        latent_id,
        tag,
        sum(z order by item_side) as z
    from concepts.concept_tags
    where run_id = $run_id
    group by latent_id, tag
),

tags as (
    select
        latents.latent_id,
        latents.place,
        pooled.tag,
        pooled.z
        / sqrt(
            sum(pooled.z * pooled.z order by pooled.z desc, pooled.tag) over (
                partition by latents.latent_id
            )
        ) as share
    from latents
    inner join pooled on latents.latent_id = pooled.latent_id
),

cosines as (
    select
        surer.latent_id as leader_id,
        other.latent_id,
        sum(surer.share * other.share order by surer.tag) as cosine
    from tags as surer
    inner join tags as other on surer.tag = other.tag
    where surer.place < other.place
    group by surer.latent_id, other.latent_id
    having sum(surer.share * other.share order by surer.tag) >= 0.75
),

surer_latents as (
    select
        latents.latent_id,
        latents.place,
        list(cosines.leader_id) filter (where cosines.leader_id is not null) as alike
    from latents
    left join cosines on latents.latent_id = cosines.latent_id
    group by latents.latent_id, latents.place
),

leaders (leader_ids) as (
    -- in each step the surest latent that is no leader and is alike to none
    select [latent_id] as leader_ids
    from surer_latents
    where place = 1
    union all
    select list_append(leaders.leader_ids, arg_min(rest.latent_id, rest.place)) as leader_ids
    from leaders
    cross join surer_latents as rest
    where
        not list_contains(leaders.leader_ids, rest.latent_id)
        and not list_has_any(coalesce(rest.alike, []), leaders.leader_ids)
    group by leaders.leader_ids
),

found as (
    select unnest(arg_max(leader_ids, len(leader_ids))) as leader_id
    from leaders
),

members as (
    select
        leader_id,
        leader_id as latent_id,
        1.0::double as cosine
    from found
    union all
    -- alike to several leaders: with the surest
    select
        arg_min(cosines.leader_id, latents.place) as leader_id,
        cosines.latent_id,
        arg_min(cosines.cosine, latents.place) as cosine
    from cosines
    inner join found on cosines.leader_id = found.leader_id
    inner join latents on found.leader_id = latents.latent_id
    group by cosines.latent_id
),

covered as (
    select
        members.leader_id,
        count(distinct levels.user_id) as n_users
    from members
    inner join staging.activation_levels as levels on members.latent_id = levels.latent_id
    where levels.run_id = $run_id and levels.side = 'verify' and levels.is_active
    group by members.leader_id
),

groups as (
    select
        members.leader_id,
        list(members.latent_id order by latents.place) as latent_ids,
        min(members.cosine) as least_alike
    from members
    inner join latents on members.latent_id = latents.latent_id
    group by members.leader_id
)

select
    $run_id as run_id,
    groups.leader_id as latent_id,
    groups.latent_ids,
    groups.least_alike,
    coalesce(covered.n_users, 0) as n_users
from groups
left join covered on groups.leader_id = covered.leader_id
