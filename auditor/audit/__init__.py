"""The main job: references in, one record each out."""
