"""Whether vLLM gives, where it runs, what it should: vectors, generations, speed, memory; as a report."""

from ume_r1_rag.verify.report import Finding, Report
from ume_r1_rag.verify.run import verify

__all__ = ["Finding", "Report", "verify"]
