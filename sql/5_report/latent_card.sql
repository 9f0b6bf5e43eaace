-- latent_card: the label of one latent and every number known about it.
-- grain:  run_id, latent_id
-- reads:  raw.runs, concepts.labels, confidence.scores
-- params:
--   $run_id    VARCHAR the SAE run
--   $latent_id BIGINT  the latent, 0-based
-- yields:
--   run_id                VARCHAR the SAE run
--   latent_id             INTEGER 0-based
--   dataset               VARCHAR name of the data set
--   recommender_run_id    VARCHAR the run whose vectors it explains
--   leading_tag           VARCHAR kind:value; NULL without a concept
--   label                 VARCHAR tags, strongest first; NULL without a concept
--   status                VARCHAR interpretable, not shown, too rare or dead
--   confidence            DOUBLE  balanced accuracy on held-out cases
--   confidence_low        DOUBLE  its lower 95% bound
--   auc                   DOUBLE  0-1
--   recall                DOUBLE  0-1
--   specificity           DOUBLE  0-1
--   precision             DOUBLE  at the true share of active cases, 0-1
--   f1                    DOUBLE  0-1
--   profile_confidence    DOUBLE  with all the tags of the profile
--   null_mean             DOUBLE  under permuted tags
--   p_value               DOUBLE  0-1
--   q_value               DOUBLE  0-1
--   trend                 VARCHAR popular, long tail, recent or old; NULL when none tells its cases
--   trend_confidence      DOUBLE  balanced accuracy of the best trend
--   n_fired               BIGINT  cases with a positive activation
--   n_active              BIGINT  held-out active cases
--   n_users               BIGINT  held-out users with an active case
--   n_verified            BIGINT  held-out cases scored
--   reference_recall      DOUBLE  the paper's protocol
--   reference_specificity DOUBLE  the paper's protocol
--   reference_confidence  DOUBLE  the paper's protocol
--   reference_cases       BIGINT  the paper's protocol: cases that verify
select
    scores.run_id,
    scores.latent_id,
    runs.dataset,
    runs.parent_run_id as recommender_run_id,
    labels.leading_tag,
    labels.label,
    scores.status,
    scores.confidence,
    scores.confidence_low,
    scores.auc,
    scores.recall,
    scores.specificity,
    scores.precision,
    scores.f1,
    scores.profile_confidence,
    scores.null_mean,
    scores.p_value,
    scores.q_value,
    scores.trend,
    scores.trend_confidence,
    scores.n_fired,
    scores.n_active,
    scores.n_users,
    scores.n_verified,
    scores.reference_recall,
    scores.reference_specificity,
    scores.reference_confidence,
    scores.reference_cases
from confidence.scores as scores
inner join raw.runs as runs on scores.run_id = runs.run_id
left join concepts.labels as labels
    on scores.run_id = labels.run_id and scores.latent_id = labels.latent_id
where scores.run_id = $run_id and scores.latent_id = $latent_id
