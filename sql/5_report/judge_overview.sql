-- judge_overview: the paper's figures over latents: a judge, and the built-in one on the same.
-- grain:  judge
-- reads:  confidence.judge_scores, confidence.judge_predictions
-- params:
--   $run_id VARCHAR the SAE run
--   $judge  VARCHAR builtin, or the name of a language model
-- yields:
--   judge              VARCHAR the judge, then builtin on the latents that it judged
--   n_latents          BIGINT  latents judged
--   n_cases            BIGINT  verifying cases
--   n_unparsed         BIGINT  cases without a readable prediction
--   mean_confidence    DOUBLE  mean share of correct predictions, 0-1
--   mean_recall        DOUBLE  over latents with an active verifying case
--   mean_specificity   DOUBLE  over latents with an inactive one; the paper's "precision"
--   n_perfect          BIGINT  latents at confidence 1
--   n_at_least_9       BIGINT  at .9 or more
--   n_above_8          BIGINT  above .8
--   n_at_least_8       BIGINT  at .8 or more
--   mean_level_active  DOUBLE  mean predicted level of active cases, 0-10
--   mean_level_silent  DOUBLE  mean predicted level of cases on which the latent is silent
-- source: the counts that the reference's last script prints
with judged as (
    select latent_id
    from confidence.judge_scores
    where run_id = $run_id and judge = $judge
),

scores as (
    select scores.*
    from confidence.judge_scores as scores
    inner join judged on scores.latent_id = judged.latent_id
    where scores.run_id = $run_id and scores.judge in ($judge, 'builtin')
),

levels as (
    select
        predictions.judge,
        avg(predictions.predicted_level) filter (where predictions.is_active) as active,
        avg(predictions.predicted_level) filter (where not predictions.is_active) as silent
    from confidence.judge_predictions as predictions
    inner join judged on predictions.latent_id = judged.latent_id
    where predictions.run_id = $run_id and predictions.judge in ($judge, 'builtin')
    group by predictions.judge
)

select
    scores.judge,
    count(*) as n_latents,
    sum(scores.n_cases)::bigint as n_cases,
    sum(scores.n_unparsed)::bigint as n_unparsed,
    avg(scores.confidence order by scores.latent_id) as mean_confidence,
    avg(scores.recall order by scores.latent_id) as mean_recall,
    avg(scores.specificity order by scores.latent_id) as mean_specificity,
    count(*) filter (where scores.confidence = 1) as n_perfect,
    count(*) filter (where scores.confidence >= 0.9) as n_at_least_9,
    count(*) filter (where scores.confidence > 0.8) as n_above_8,
    count(*) filter (where scores.confidence >= 0.8) as n_at_least_8,
    any_value(levels.active) as mean_level_active,
    any_value(levels.silent) as mean_level_silent
from scores
left join levels on scores.judge = levels.judge
group by scores.judge
order by scores.judge = 'builtin', scores.judge
