-- reference_cases: the few cases of the paper's protocol, describing and verifying ones apart.
-- grain:  run_id, latent_id, case_id
-- reads:  staging.activation_levels, staging.case_pool
-- params:
--   $run_id   VARCHAR the SAE run
--   $seed     BIGINT  seed of the draws
--   $n_strong BIGINT  strongest cases taken; half describe, half verify
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based; latents with a case of level 5 or more
--   case_id   BIGINT  0-based
--   role      VARCHAR describe or verify
--   is_active BOOLEAN the truth; describing cases are all active
--   level     INTEGER the latent's level there, 5..10; 0 where it is silent
-- source: section 4.3 of the paper. One case per user among the strongest, because neighbouring
--         cases of a user are nearly the same case; the reference has one case per user anyway. It
--         lets describing cases verify when there are few, and may draw an inactive case twice.
with firings as (
    select * from staging.activation_levels where run_id = $run_id
),

of_user as (
    select
        latent_id,
        user_id,
        first(case_id order by value desc, case_id) as case_id,
        max(value) as value,
        max(level) as level
    from firings
    where level >= 5
    group by latent_id, user_id
),

strong as (
    select
        latent_id,
        case_id,
        level,
        row_number() over (partition by latent_id order by value desc, case_id) as place
    from of_user
),

shuffled as (
    select
        latent_id,
        case_id,
        level,
        row_number() over (
            partition by latent_id
            order by
                md5_number_lower(concat_ws('|', $seed, 'reference', latent_id, case_id)), case_id
        ) as place,
        count(*) over (partition by latent_id) as n_strong
    from strong
    where place <= $n_strong
),

latents as (
    select distinct latent_id from shuffled
),

pool as (
    select case_id
    from staging.case_pool
    where run_id = $run_id and side = 'verify'
),

candidates as (
    select
        latents.latent_id,
        pool.case_id,
        row_number() over (
            partition by latents.latent_id
            order by
                md5_number_lower(concat_ws('|', $seed, 'random', latents.latent_id, pool.case_id)),
                pool.case_id
        ) as place
    from latents
    cross join pool
    anti join firings
        on latents.latent_id = firings.latent_id and pool.case_id = firings.case_id
),

strong_cases as (
    select
        latent_id,
        case_id,
        if(place <= ceil(n_strong / 2), 'describe', 'verify') as role,
        true as is_active,
        level
    from shuffled
),

random_cases as (
    select
        latent_id,
        case_id,
        'verify' as role,
        false as is_active,
        0 as level
    from candidates
    where place <= $n_strong // 2
),

cases as (
    select * from strong_cases
    union all
    select * from random_cases
)

select
    $run_id as run_id,
    latent_id,
    case_id,
    role,
    is_active,
    level
from cases
