def claims_text(one): return ""
