-- labels: the concept of a latent in a few tags: those with the highest z over both item halves.
-- grain:  run_id, latent_id
-- reads:  concepts.concept_tags
-- params:
--   $run_id     VARCHAR the SAE run
--   $label_tags BIGINT  most tags in a label
-- yields:
--   run_id      VARCHAR   the SAE run
--   latent_id   INTEGER   0-based
--   leading_tag VARCHAR   the first tag of the label, kind:value
--   label       VARCHAR   the tags to be read, the strongest first: those alike stand together,
--                         times in their own order, years in brackets behind their decade,
--                         words of titles in quotes
--   tags        VARCHAR[] the same tags with their kinds
--   n_shared    BIGINT    tags of the label that both item halves chose on their own
-- source: docs/decisions.md; only tags that carry the confidence are shown beside it
with concept_tags as (
    select * from concepts.concept_tags where run_id = $run_id and rank <= $label_tags
),

pooled as (
    -- at most two terms, one a side: their sum does not depend on order
    select
        latent_id,
        tag,
        sum(z) as z,
        count(*) as n_sides
    from concept_tags
    group by latent_id, tag
),

ranked as (
    select
        *,
        row_number() over (partition by latent_id order by z desc, tag) as place
    from pooled
),

split as (
    select
        *,
        split_part(tag, ':', 1) as kind,
        substr(tag, strpos(tag, ':') + 1) as bare
    from ranked
    where place <= $label_tags
),

kept as (
    -- a kind is left out, unless its value is a bare number or that of another kind as well
    select
        *,
        case
            when kind in ('decade', 'word', 'year') then bare
            when regexp_full_match(bare, '-?[0-9]+(\.[0-9]+)?') then tag
            when count(*) filter (where kind != 'word') over (partition by latent_id, bare) > 1
                then tag
            else bare
        end as value
    from split
),

decades as (
    select
        latent_id,
        value,
        place
    from kept
    where kind = 'decade'
),

read as (
    -- what a tag is read with: a year with its decade, if that is in the label as well
    select
        kept.*,
        case
            when kept.kind = 'word' then 'words'
            when kept.kind in ('decade', 'year') then 'times'
            else 'others'
        end as part,
        coalesce(decades.place, kept.place) as head_place,
        kept.kind = 'year' and decades.place is not null as is_inside
    from kept
    left join decades
        on
            kept.latent_id = decades.latent_id
            and kept.kind = 'year'
            and left(kept.value, 3) || '0s' = decades.value
),

grouped as (
    select
        latent_id,
        part,
        min(place) as place,
        max(if(kind = 'word', '“' || value || '”', value)) filter (where not is_inside) as head,
        string_agg(value, ', ' order by value) filter (where is_inside) as inside
    from read
    group by latent_id, part, head_place
),

pieces as (
    select
        latent_id,
        part,
        place,
        head || coalesce(' (' || inside || ')', '') as text
    from grouped
),

parts as (
    select
        latent_id,
        min(place) as place,
        string_agg(text, ', ' order by if(part = 'times', text, ''), place) as text
    from pieces
    group by latent_id, part
),

texts as (
    select
        latent_id,
        string_agg(text, ', ' order by place) as label
    from parts
    group by latent_id
),

summed as (
    select
        latent_id,
        arg_min(tag, place) as leading_tag,
        list(tag order by place) as tags,
        count(*) filter (where n_sides = 2) as n_shared
    from kept
    group by latent_id
)

select
    $run_id as run_id,
    summed.latent_id,
    summed.leading_tag,
    texts.label,
    summed.tags,
    summed.n_shared
from summed
inner join texts on summed.latent_id = texts.latent_id
