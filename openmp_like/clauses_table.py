"""The table of OpenMP's directives and clauses with their forms in Numba, in the order in which one learns them."""

from parlab.openmp_like.clauses_loops import LOOPS
from parlab.openmp_like.clauses_schedules import SCHEDULES
from parlab.openmp_like.clauses_sharing import SHARING
from parlab.openmp_like.clauses_tasks import TASKS
from parlab.openmp_like.clauses_teams import TEAMS
from parlab.openmp_like.clauses_waiting import WAITING

CLAUSES = (*TEAMS, *SHARING, *LOOPS, *SCHEDULES, *WAITING, *TASKS)
