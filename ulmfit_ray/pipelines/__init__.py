from ulmfit_ray.pipelines.ray_environment import settle

settle()
