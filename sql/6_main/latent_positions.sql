-- latent_positions: when a latent fires in the course of histories, with its label.
-- grain:  run_id, latent_id, position
-- reads:  summaries.latent_positions, main.latents
-- yields:
--   run_id     VARCHAR the SAE run
--   latent_id  INTEGER 0-based
--   position   INTEGER length of the history that the case has seen
--   label      VARCHAR label of the latent; NULL without a concept
--   concept    VARCHAR its leading tag, kind:value
--   status     VARCHAR interpretable, not shown, too rare or dead; NULL when not verified
--   confidence DOUBLE  balanced accuracy on held-out cases, 0-1
--   n_fired    BIGINT  cases of that length on which the latent fires
--   n_active   BIGINT  those at level 5 or above; NULL without concepts
select
    counted.run_id,
    counted.latent_id,
    counted.position,
    latents.label,
    latents.concept,
    latents.status,
    latents.confidence,
    counted.n_fired,
    counted.n_active
from summaries.latent_positions as counted
left join main.latents as latents
    on counted.run_id = latents.run_id and counted.latent_id = latents.latent_id
