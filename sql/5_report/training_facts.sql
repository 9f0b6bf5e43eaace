-- training_facts: what decides how many concepts a run can have: its cases, users and tags.
-- grain:  run_id
-- reads:  raw.runs, raw.stages, raw.cases, raw.items, raw.item_tags, staging.user_sides
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id         VARCHAR the SAE run
--   autoencoder    VARCHAR TopK, or untrained or neurons for one that nobody trained
--   d              INTEGER width of the vectors
--   min_active     INTEGER held-out active cases below which a latent is too rare to judge
--   n_cases        BIGINT  cases of the recommender
--   n_case_users   BIGINT  users with a case
--   n_verify_cases BIGINT  cases of the users whose cases verify
--   n_items        BIGINT  items of the data set
--   n_tagged       BIGINT  items with a tag
--   n_tags         BIGINT  different tags
with runs as (
    select * from raw.runs where run_id = $run_id
),

settings as (
    select params
    from raw.stages
    where run_id = $run_id and stage = 'confidence'
),

verifying as (
    select user_id
    from staging.user_sides
    where run_id = $run_id and side = 'verify'
),

cases as (
    select
        count(*) as n_cases,
        count(distinct cases.user_id) as n_case_users,
        count(*) filter (where verifying.user_id is not null) as n_verify_cases
    from raw.cases as cases
    inner join runs on cases.run_id = runs.parent_run_id
    left join verifying on cases.user_id = verifying.user_id
),

items as (
    select count(*) as n_items
    from raw.items as items
    inner join runs on items.dataset = runs.dataset
),

tags as (
    select
        count(distinct item_tags.item_id) as n_tagged,
        count(distinct item_tags.tag) as n_tags
    from raw.item_tags as item_tags
    inner join runs on item_tags.dataset = runs.dataset
)

select
    runs.run_id,
    runs.model as autoencoder,
    (runs.params ->> '$.d')::integer as d,
    (settings.params ->> '$.min_active')::integer as min_active,
    cases.n_cases,
    cases.n_case_users,
    cases.n_verify_cases,
    items.n_items,
    tags.n_tagged,
    tags.n_tags
from runs
left join settings on true
cross join cases
cross join items
cross join tags
