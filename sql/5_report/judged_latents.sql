-- judged_latents: each judged latent with its description, beside the built-in judge and the label.
-- grain:  latent_id
-- reads:  raw.descriptions, raw.judgements, concepts.labels, confidence.judge_scores,
--         confidence.judge_predictions
-- params:
--   $run_id VARCHAR the SAE run
--   $judge  VARCHAR builtin, or the name of a language model
-- yields:
--   latent_id           INTEGER   0-based
--   description         VARCHAR   the sentence that was judged; NULL for the built-in judge
--   label               VARCHAR   the tags of the concept; NULL when no tag stands out
--   confidence          DOUBLE    share of correct predictions, 0-1
--   recall              DOUBLE    0-1; NULL without an active verifying case
--   specificity         DOUBLE    0-1
--   n_cases             BIGINT    verifying cases
--   n_unparsed          BIGINT    cases without a readable prediction
--   levels              INTEGER[] true levels of the verifying cases, strongest first
--   predicted_levels    BIGINT[]  the levels predicted, in the same order
--   builtin_confidence  DOUBLE    of the built-in judge on the same cases
--   builtin_recall      DOUBLE    0-1
--   builtin_specificity DOUBLE    0-1
with scores as (
    select * from confidence.judge_scores where run_id = $run_id and judge = $judge
),

builtin as (
    select * from confidence.judge_scores where run_id = $run_id and judge = 'builtin'
),

labels as (
    select * from concepts.labels where run_id = $run_id
),

asked as (
    select params ->> '$.descriptions' as model
    from raw.judgements
    where run_id = $run_id and judge = $judge and task = 'predict'
),

descriptions as (
    select
        written.latent_id,
        written.description
    from raw.descriptions as written
    inner join asked on written.model = asked.model
    where written.run_id = $run_id
),

levels as (
    select
        latent_id,
        list(level order by level desc, case_id) as levels,
        list(predicted_level order by level desc, case_id) as predicted_levels
    from confidence.judge_predictions
    where run_id = $run_id and judge = $judge
    group by latent_id
)

select
    scores.latent_id,
    descriptions.description,
    labels.label,
    scores.confidence,
    scores.recall,
    scores.specificity,
    scores.n_cases,
    scores.n_unparsed,
    levels.levels,
    levels.predicted_levels,
    builtin.confidence as builtin_confidence,
    builtin.recall as builtin_recall,
    builtin.specificity as builtin_specificity
from scores
inner join levels on scores.latent_id = levels.latent_id
left join builtin on scores.latent_id = builtin.latent_id
left join labels on scores.latent_id = labels.latent_id
left join descriptions on scores.latent_id = descriptions.latent_id
order by scores.confidence desc, scores.n_cases desc, scores.latent_id
