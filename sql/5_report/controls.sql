-- controls: verified runs of autoencoders that nobody trained, to be read beside an SAE run.
-- grain:  run_id
-- reads:  raw.runs, raw.stages
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id VARCHAR a run on the same recommender, with the same k, seed and sides of the users
--   name   VARCHAR untrained or neurons
with runs as (
    select * from raw.runs where run_id = $run_id
),

verified as (
    select run_id
    from raw.stages
    where stage = 'confidence' and status = 'done'
)

select
    controls.run_id,
    controls.model as name
from runs
inner join raw.runs as controls
    on
        runs.parent_run_id = controls.parent_run_id
        and runs.seed = controls.seed
        and (runs.params ->> '$.k') = (controls.params ->> '$.k')
        and (runs.params ->> '$.n_latents') = (controls.params ->> '$.of_latents')
        and (runs.params ->> '$.construct_share') = (controls.params ->> '$.construct_share')
        and (runs.params ->> '$.heldout_share') = (controls.params ->> '$.heldout_share')
inner join verified on controls.run_id = verified.run_id
where
    controls.model in ('untrained', 'neurons')
    and runs.model not in ('untrained', 'neurons')
