"""The vLLM backend: ``backend`` runs requests, ``engine`` drives vLLM, ``states`` touches its inside."""
