"""VisDoc RAG: from a folder of PDFs, or a public test set, to answers and the line that decides."""
