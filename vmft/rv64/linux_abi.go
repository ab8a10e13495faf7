package rv64

// Numbers of the riscv64 Linux interface. A call returns -errno.

const (
	ePERM             = 1
	eNOENT            = 2
	eSRCH             = 3
	eINTR             = 4
	eIO               = 5
	eNXIO             = 6
	e2BIG             = 7
	eNOEXEC           = 8
	eBADF             = 9
	eCHILD            = 10
	eAGAIN            = 11
	eNOMEM            = 12
	eACCES            = 13
	eFAULT            = 14
	eBUSY             = 16
	eEXIST            = 17
	eXDEV             = 18
	eNODEV            = 19
	eNOTDIR           = 20
	eISDIR            = 21
	eINVAL            = 22
	eMFILE            = 24
	eNOTTY            = 25
	eFBIG             = 27
	eNOSPC            = 28
	eSPIPE            = 29
	eROFS             = 30
	eMLINK            = 31
	ePIPE             = 32
	eDOM              = 33
	eRANGE            = 34
	eDEADLK           = 35
	eNAMETOOLONG      = 36
	eNOSYS            = 38
	eNOTEMPTY         = 39
	eLOOP             = 40
	eNODATA           = 61
	eOVERFLOW         = 75
	eNOTSOCK          = 88
	eDESTADDRREQ      = 89
	eMSGSIZE          = 90
	ePROTOTYPE        = 91
	eNOPROTOOPT       = 92
	ePROTONOSUPPORT   = 93
	eSOCKTNOSUPPORT   = 94
	eOPNOTSUPP        = 95
	eAFNOSUPPORT      = 97
	eADDRINUSE        = 98
	eADDRNOTAVAIL     = 99
	eNETUNREACH       = 101
	eCONNABORTED      = 103
	eCONNRESET        = 104
	eNOBUFS           = 105
	eISCONN           = 106
	eNOTCONN          = 107
	eTIMEDOUT         = 110
	eCONNREFUSED      = 111
	eHOSTUNREACH      = 113
	eALREADY          = 114
	eINPROGRESS       = 115
	callBlocks        = -1 << 62 // what a call returns that has to wait
	callReturnsItself = -1 << 61 // and one that has set all registers
)

const (
	oRDONLY    = 0
	oWRONLY    = 1
	oRDWR      = 2
	oACCMODE   = 3
	oCREAT     = 0x40
	oEXCL      = 0x80
	oTRUNC     = 0x200
	oDSYNC     = 0x1000 // O_SYNC has it too
	oAPPEND    = 0x400
	oNONBLOCK  = 0x800
	oDIRECTORY = 0x10000
	oNOFOLLOW  = 0x20000
	oCLOEXEC   = 0x80000
	oPATH      = 0x200000
	oTMPFILE   = 0x400000 | oDIRECTORY

	atFDCWD           = -100
	atSymlinkNofollow = 0x100
	atRemovedir       = 0x200
	atSymlinkFollow   = 0x400
	atEmptyPath       = 0x1000

	sIFMT   = 0xf000
	sIFSOCK = 0xc000
	sIFLNK  = 0xa000
	sIFREG  = 0x8000
	sIFBLK  = 0x6000
	sIFDIR  = 0x4000
	sIFCHR  = 0x2000
	sIFIFO  = 0x1000
)

const (
	protRead     = 1
	protWrite    = 2
	protExec     = 4
	mapShared    = 1
	mapPrivate   = 2
	mapFixed     = 0x10
	mapAnon      = 0x20
	mapNoReplace = 0x100000

	madvDontneed = 4
	madvFree     = 8
)

const (
	sigHUP   = 1
	sigINT   = 2
	sigQUIT  = 3
	sigILL   = 4
	sigTRAP  = 5
	sigABRT  = 6
	sigBUS   = 7
	sigFPE   = 8
	sigKILL  = 9
	sigUSR1  = 10
	sigSEGV  = 11
	sigPIPE  = 13
	sigALRM  = 14
	sigCHLD  = 17
	sigCONT  = 18
	sigSTOP  = 19
	sigTSTP  = 20
	sigTTIN  = 21
	sigTTOU  = 22
	sigURG   = 23
	sigWINCH = 28
	signals  = 64

	saNocldwait = 2
	saSiginfo   = 4
	saOnstack   = 0x08000000
	saRestart   = 0x10000000
	saNodefer   = 0x40000000
	saResethand = 0x80000000

	ssOnstack = 1
	ssDisable = 2
)

const (
	epollIn      = 1
	epollPri     = 2
	epollOut     = 4
	epollErr     = 8
	epollHup     = 0x10
	epollRdhup   = 0x2000
	epollOneshot = 1 << 30
	epollET      = 1 << 31
)

const (
	afUnix  = 1
	afInet  = 2
	afInet6 = 10

	sockStream   = 1
	sockDgram    = 2
	sockNonblock = 0x800
	sockCloexec  = 0x80000

	msgPeek       = 2
	msgTrunc      = 0x20
	msgDontwait   = 0x40
	msgWaitall    = 0x100
	msgNosignal   = 0x4000
	msgWaitForOne = 0x10000
)

// Limits of a guest. What exceeds one gets the error that Linux gives.
const (
	maxThreads   = 4096
	maxFiles     = 4096
	maxAreas     = 65530
	maxPath      = 4096
	maxName      = 255
	maxTransfer  = 1 << 20 // bytes of one read or write; more is a short count
	maxVectors   = 1024
	maxPipe      = 64 << 10
	maxSymlinks  = 40
	maxInterests = 65536
)
