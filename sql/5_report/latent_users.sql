-- latent_users: the users on whose cases a latent fires strongest, with one such moment of each.
-- grain:  user_id
-- reads:  raw.runs, raw.users, raw.items, raw.activations, staging.cases
-- params:
--   $run_id    VARCHAR the SAE run
--   $latent_id BIGINT  the latent, 0-based
--   $n_users   BIGINT  users returned
-- yields:
--   user_id        INTEGER 1-based
--   source_user_id VARCHAR id in the source files
--   side           VARCHAR construct or verify
--   value          FLOAT   highest activation of the user
--   n_cases        BIGINT  cases of the user on which the latent fires
--   position       INTEGER items that the strongest case has seen
--   title          VARCHAR first recommendation of that case
with firings as (
    select *
    from raw.activations
    where run_id = $run_id and latent_id = $latent_id
),

users as (
    select
        user_id,
        max(value) as value,
        count(*) as n_cases,
        first(case_id order by value desc, case_id) as case_id
    from firings
    group by user_id
    order by value desc, user_id
    limit $n_users
)

select
    users.user_id,
    known.source_user_id,
    cases.side,
    users.value,
    users.n_cases,
    cases.position,
    coalesce(items.title, items.source_item_id) as title
from users
inner join firings on users.case_id = firings.case_id
inner join staging.cases as cases on users.case_id = cases.case_id and cases.run_id = $run_id
inner join raw.runs as runs on cases.run_id = runs.run_id
left join raw.users as known on runs.dataset = known.dataset and users.user_id = known.user_id
left join raw.items as items on runs.dataset = items.dataset and firings.item_id = items.item_id
order by users.value desc, users.user_id
