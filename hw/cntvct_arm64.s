#include "textflag.h"

// func ReadCNTVCT() Ticks
//
// DSB ISHLD waits until every earlier load has its value, ISB keeps the counter from being read ahead of it (Arm ARM D11.2.2).
TEXT ·ReadCNTVCT(SB), NOSPLIT|NOFRAME, $0-8
	DSB $9
	ISB $15
	MRS CNTVCT_EL0, R0
	MOVD R0, ret+0(FP)
	RET

// func readCNTFRQ() uint64
TEXT ·readCNTFRQ(SB), NOSPLIT|NOFRAME, $0-8
	MRS CNTFRQ_EL0, R0
	MOVD R0, ret+0(FP)
	RET
