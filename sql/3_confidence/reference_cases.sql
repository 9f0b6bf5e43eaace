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
    -- in one drawn order for all latents, each of which starts at a drawn place
    select
        case_id,
        row_number() over (
            order by md5_number_lower(concat_ws('|', $seed, 'random', case_id)), case_id
        ) - 1 as place,
        count(*) over () as n_cases
    from staging.case_pool
    where run_id = $run_id and side = 'verify'
),

pool_firings as (
    select
        firings.latent_id,
        firings.case_id
    from firings
    semi join pool on firings.case_id = pool.case_id
),

lengths as (
    select
        latent_id,
        count(*) as n_firing
    from pool_firings
    group by latent_id
),

size as (
    select max(n_cases) as n_cases from pool
),

starts as (
    -- among so many cases in a row there are enough on which the latent is silent
    select
        latents.latent_id,
        size.n_cases,
        (
            md5_number_lower(concat_ws('|', $seed, 'start', latents.latent_id)) % size.n_cases
        )::bigint as start,
        unnest(
            generate_series(
                1, least($n_strong // 2 + coalesce(lengths.n_firing, 0), size.n_cases)
            )
        ) as step
    from latents
    cross join size
    left join lengths on latents.latent_id = lengths.latent_id
),

candidates as (
    select
        starts.latent_id,
        pool.case_id,
        row_number() over (partition by starts.latent_id order by starts.step) as place
    from starts
    inner join pool on (starts.start + starts.step - 1) % starts.n_cases = pool.place
    anti join pool_firings
        on starts.latent_id = pool_firings.latent_id and pool.case_id = pool_firings.case_id
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
