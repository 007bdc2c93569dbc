"""The policy language, shared by both sides, and the policies that ship."""
