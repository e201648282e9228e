import glob,math,os,numpy as np,torch,torch.nn.functional as F
from torch.func import functional_call,grad
E=os.environ.get
class H:
	datasets_dir=E('DATA_DIR','./data/datasets');vocab=int(E('VOCAB_SIZE',8192));seq=int(E('EVAL_SEQ_LEN',2048));stride=int(E('EVAL_STRIDE',64));steps=int(E('ITERATIONS',20000));ttt_chunk=int(E('TTT_CHUNK_TOKENS',32768));ttt_epochs=int(E('TTT_EPOCHS',3));ttt_lr=float(E('TTT_LR',.005));val_files=os.path.join(datasets_dir,'fineweb_val_*.bin');train_files=os.path.join(datasets_dir,'fineweb_train_*.bin')
def load(f):
	h=np.fromfile(f,dtype='<i4',count=256);return torch.from_numpy(np.fromfile(f,dtype='<u2',count=int(h[2]),offset=1024).astype(np.int64))
class ValidationData:
	def __init__(self,h,device):self.val_tokens=torch.cat([load(f)for f in sorted(glob.glob(h.val_files))]);self.base,self.lead,self.edge=(torch.load(n+'.lut',map_location=device)for n in('base','lead','edge'))
	def nbytes(self,prev,tgt):return self.base[tgt].double()+(self.lead[tgt]&~self.edge[prev]).double()
def init_banks(h,device):
	d=512;b={'emb':torch.randn(h.vocab,d,device=device)*.02}
	for i in range(11):b[f'qo.{i}']=torch.randn(2,d,d,device=device)*.02;b[f'kv.{i}']=torch.randn(2,d,d//2,device=device)*.02;b[f'up.{i}']=torch.randn(d,4*d,device=device)*.02;b[f'down.{i}']=torch.zeros(4*d,d,device=device)
	for p in b.values():p.requires_grad_(True)
	return b
def logits_of(b,ids):
	x=b['emb'][ids]
	for i in range(11):x=x+F.relu(F.rms_norm(x,(512,))@b[f'up.{i}']).square()@b[f'down.{i}']
	return x@b['emb'].T
def loss_of(b,x,y,reduction='mean'):
	lg=logits_of(b,x);return F.cross_entropy(lg.flatten(0,1).float(),y.flatten(),reduction=reduction)
def pretrain(h,b,device):
	files=sorted(glob.glob(h.train_files));opt=torch.optim.AdamW(list(b.values()),lr=1e-3)
	for step in range(h.steps):
		tok=load(files[step%len(files)]);s=(step*7919)%1000;c=tok[s:s+32*h.seq+1].to(device);opt.zero_grad();loss_of(b,c[:-1].view(-1,h.seq),c[1:].view(-1,h.seq)).backward();opt.step()
def eval_ttt(h,b,v,device):
	tok=v.val_tokens.to(device);P=tok.numel()-1;n=(P+h.ttt_chunk-1)//h.ttt_chunk;nats=torch.zeros((),dtype=torch.float64,device=device);cnt=nats.clone();by=nats.clone();mom={k:torch.zeros_like(p)for k,p in b.items()}
	for ci in range(n):
		s=ci*h.ttt_chunk;e=min(s+h.ttt_chunk,P)
		with torch.no_grad():
			for w in range(s,e,h.seq):
				z=min(w+h.seq,e);c=tok[w:z+1];l=loss_of(b,c[None,:-1],c[None,1:],'none');nats+=l.double().sum();cnt+=z-w;by+=v.nbytes(c[:-1],c[1:]).sum()
		if ci==n-1:break
		for ep in range(h.ttt_epochs):
			for w in range(s,e-h.seq,h.seq):
				c=tok[w:w+h.seq+1];gs=torch.autograd.grad(loss_of(b,c[None,:-1],c[None,1:]),list(b.values()))
				with torch.no_grad():
					for(k,p),g in zip(b.items(),gs):mom[k].mul_(.9).add_(g);p.sub_(h.ttt_lr*mom[k])
	return(nats/cnt).item(),(nats/math.log(2)/by).item()
def main():
	h=H();device=torch.device('cuda');b=init_banks(h,device);pretrain(h,b,device);print('val',eval_ttt(h,b,ValidationData(h,device),device))
if __name__=='__main__':main()
