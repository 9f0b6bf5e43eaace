-- coverage: how many verifying users an interpretable latent is active on, at one of their cases.
-- grain:  run_id
-- reads:  staging.cases, staging.activation_levels, confidence.scores
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id    VARCHAR the SAE run
--   n_users   BIGINT  users of the verify side with a case that is looked at
--   n_covered BIGINT  those on whose cases an interpretable latent is active
-- source: stored as a metric of the run, since it takes a look at all activations
with interpretable as (
    select latent_id
    from confidence.scores
    where run_id = $run_id and status = 'interpretable'
),

covered as (
    select count(distinct levels.user_id) as n_users
    from staging.activation_levels as levels
    inner join interpretable on levels.latent_id = interpretable.latent_id
    where levels.run_id = $run_id and levels.side = 'verify' and levels.is_active
),

verifying as (
    select count(distinct user_id) as n_users
    from staging.cases
    where run_id = $run_id and side = 'verify'
)

select
    $run_id as run_id,
    verifying.n_users,
    covered.n_users as n_covered
from covered
cross join verifying
