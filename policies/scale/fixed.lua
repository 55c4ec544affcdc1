-- Fixed: always the same number of instances, which others are compared with.
--
-- Rule: `instances`; 0: as many as there are.
-- Source: a Deployment without an autoscaler; the built-in `fixed` decides the same.
--@param instances = 0, 0..100000 int  how many; 0: as many as there are

return {
  replicas = function(pool)
    return if cfg.instances > 0 then cfg.instances else pool.ready + pool.loading
  end,
}
