-- tag_names: the tag under which each tag counts: spellings and plurals of one word are one tag.
-- grain:  run_id, tag
-- reads:  raw.runs, raw.items, raw.item_tags
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id  VARCHAR the SAE run
--   tag     VARCHAR kind:value, as prepared
--   name    VARCHAR the most common tag of those that are the same; mostly the tag itself
--   n_items BIGINT  items that carry the tag
-- source: docs/decisions.md; only tags of one kind are ever the same. Spellings differ in case, and
--         in spaces, hyphens, underscores, slashes and apostrophes that do not part two digits, in
--         "&", "n" and "and", or in "1980s" and "80s". A plural in -s is the same only where both
--         forms share a quarter of the rarer one's items, so that blues are not blue. What more
--         than nine in ten items carry tells nothing apart: it has no row, and counts for nothing
with tags as (
    select
        runs.run_id,
        item_tags.kind,
        item_tags.tag,
        item_tags.item_id
    from raw.item_tags as item_tags
    inner join raw.runs as runs on item_tags.dataset = runs.dataset
    where runs.run_id = $run_id
),

sizes as (
    select
        run_id,
        kind,
        tag,
        count(*) as n_items
    from tags
    group by run_id, kind, tag
),

worded as (
    select
        *,
        trim(
            regexp_replace(
                replace(
                    lower(nfc_normalize(substr(tag, strpos(tag, ':') + 1))), '&', ' and '
                ),
                '[\s\p{Pd}_/''’]+',
                ' ',
                'g'
            )
        ) as words
    from sizes
),

closed as (
    -- no space stays but those between two digits
    select
        *,
        regexp_replace(
            regexp_replace(replace(words, ' n ', ' and '), '([^0-9]) ', '\1', 'g'),
            ' ([^0-9])',
            '\1',
            'g'
        ) as letters
    from worded
),

spelled as (
    select
        *,
        first_value(tag) over (
            partition by kind, regexp_replace(letters, '^19([3-9]0s)$', '\1')
            order by n_items desc, tag
        ) as spelling,
        regexp_replace(
            regexp_replace(letters, '^19([3-9]0s)$', '\1'), '^(..+[^s])s$', '\1'
        ) as stem
    from closed
),

spelling_items as (
    select distinct
        spelled.kind,
        spelled.stem,
        spelled.spelling,
        tags.item_id
    from spelled
    inner join tags on spelled.kind = tags.kind and spelled.tag = tags.tag
),

stems as (
    -- the more common of the two numbers leads
    select
        kind,
        stem,
        spelling,
        n_items,
        first_value(spelling) over (
            partition by kind, stem
            order by n_items desc, spelling
        ) as leader
    from (
        select
            kind,
            stem,
            spelling,
            count(*) as n_items
        from spelling_items
        group by kind, stem, spelling
    ) as counted
),

shared as (
    select
        stems.kind,
        stems.spelling,
        stems.leader
    from stems
    inner join spelling_items as own
        on stems.kind = own.kind and stems.spelling = own.spelling
    inner join spelling_items as theirs
        on
            stems.kind = theirs.kind
            and stems.leader = theirs.spelling
            and own.item_id = theirs.item_id
    where stems.spelling <> stems.leader
    group by stems.kind, stems.spelling, stems.leader, stems.n_items
    having count(*) * 4 >= stems.n_items
),

named as (
    select
        spelled.run_id,
        spelled.kind,
        spelled.tag,
        coalesce(shared.leader, spelled.spelling) as name,
        spelled.n_items
    from spelled
    left join shared
        on spelled.kind = shared.kind and spelled.spelling = shared.spelling
),

carried as (
    select
        named.name,
        count(distinct tags.item_id) as n_items
    from named
    inner join tags on named.kind = tags.kind and named.tag = tags.tag
    group by named.name
),

every_item as (
    select count(*) as n_items
    from raw.items as items
    inner join raw.runs as runs on items.dataset = runs.dataset
    where runs.run_id = $run_id
)

select
    named.run_id,
    named.tag,
    named.name,
    named.n_items
from named
inner join carried on named.name = carried.name
cross join every_item
where carried.n_items * 10 <= every_item.n_items * 9
