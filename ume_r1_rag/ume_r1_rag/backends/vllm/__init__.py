"""The vLLM backend: ``backend`` runs requests, ``engine`` drives vLLM, ``states`` is what touches its inside."""
